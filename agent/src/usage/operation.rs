//! What a client asked for, as far as a host can tell.

use strongroom_proto::client::{ClientRequest, NoiseRequest, RequestKind};

/// What the AEAD adds to what it encrypts, in bytes.
const TAG: usize = 16;

/// What a client asked for. A host cannot read it; but each kind of request has a length of its own (section 5.2 of the
/// client protocol). A client that adds what realms ignore is counted as another kind, and still once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// A session, and nothing in it yet.
    Handshake,
    /// The first step of a registration: is the realm there?
    Register1,
    /// The second: the record is replaced.
    Register2,
    /// The first step of a recovery: which registration is there?
    Recover1,
    /// The second, which costs a guess.
    Recover2,
    /// The third, which a client sends when the PIN was right.
    Recover3,
    /// The record is removed.
    Delete,
    /// Of another length than any of these.
    Other,
}

impl Operation {
    /// All of them, in the order in which sheets count them.
    pub const ALL: [Self; 8] = [
        Self::Handshake,
        Self::Register1,
        Self::Register2,
        Self::Recover1,
        Self::Recover2,
        Self::Recover3,
        Self::Delete,
        Self::Other,
    ];

    /// What a request asks for.
    #[must_use]
    pub fn of(request: &ClientRequest) -> Self {
        if request.kind == RequestKind::HandshakeOnly {
            return Self::Handshake;
        }
        let encrypted = match &request.encrypted {
            NoiseRequest::Handshake(handshake) => handshake.payload_ciphertext.len(),
            NoiseRequest::Transport { ciphertext } => ciphertext.len(),
        };
        encrypted.checked_sub(TAG).map_or(Self::Other, Self::of_length)
    }

    const fn of_length(length: usize) -> Self {
        match length {
            7 => Self::Delete,
            9 => Self::Recover1,
            10 => Self::Register1,
            68 => Self::Recover3,
            89 => Self::Recover2,
            // The number of guesses takes one byte, two or three.
            663..=665 => Self::Register2,
            _ => Self::Other,
        }
    }

    /// Its name, in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Register1 => "register1",
            Self::Register2 => "register2",
            Self::Recover1 => "recover1",
            Self::Recover2 => "recover2",
            Self::Recover3 => "recover3",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }

    /// Whether a user who was answered it has used the realm. A session alone says nothing.
    #[must_use]
    pub const fn is_use(self) -> bool {
        !matches!(self, Self::Handshake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::client::{HandshakeRequest, SecretsRequest};
    use strongroom_proto::ids::{RealmId, SessionId};

    fn request(kind: RequestKind, encrypted: NoiseRequest) -> ClientRequest {
        let realm = RealmId([1; 16]);
        ClientRequest { realm, auth_token: String::new(), session_id: SessionId(1), kind, encrypted }
    }

    fn transport(length: usize) -> Operation {
        let encrypted = NoiseRequest::Transport { ciphertext: vec![0; length] };
        Operation::of(&request(RequestKind::SecretsRequest, encrypted))
    }

    #[test]
    fn a_request_is_known_by_its_length_alone() {
        for (asked, operation) in [
            (SecretsRequest::Register1, Operation::Register1),
            (SecretsRequest::Recover1, Operation::Recover1),
            (SecretsRequest::Delete, Operation::Delete),
        ] {
            let length = asked.to_cbor().len() + TAG;
            assert_eq!(transport(length), operation);
            let inside = HandshakeRequest {
                client_ephemeral_public: vec![0; 32],
                payload_ciphertext: vec![0; length],
            };
            let inside = NoiseRequest::Handshake(inside);
            assert_eq!(Operation::of(&request(RequestKind::SecretsRequest, inside.clone())), operation);
            assert_eq!(Operation::of(&request(RequestKind::HandshakeOnly, inside)), Operation::Handshake);
        }
        // Section 5.2 of the client protocol.
        for (length, operation) in [
            (663, Operation::Register2),
            (664, Operation::Register2),
            (89, Operation::Recover2),
            (68, Operation::Recover3),
        ] {
            assert_eq!(transport(length + TAG), operation);
        }
        for length in [0, 1, 15, 16, 17, 24, 90, 104, 106, 678, 682, 4096] {
            assert_eq!(transport(length), Operation::Other, "{length}");
        }
    }

    #[test]
    fn each_operation_is_counted_in_a_place_of_its_own() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place, "{}", operation.name());
        }
    }
}
