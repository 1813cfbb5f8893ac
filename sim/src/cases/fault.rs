//! What goes wrong with a request on its way, and which requests it hits.
//!
//! Nobody on the way can read a message. But its length tells what it is: the client protocol pads answers, not requests.

use serde::Deserialize;
use std::collections::HashSet;
use strongroom_proto::client::{ClientRequest, NoiseRequest};

/// The tag of an AEAD, in bytes.
const TAG: usize = 16;

/// What a request is.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Handshake,
    Register1,
    Register2,
    Recover1,
    Recover2,
    Recover3,
    Delete,
}

impl Kind {
    /// By the lengths of section 5.2 of the client protocol; `None` for anything else.
    pub(super) fn of(request: &ClientRequest) -> Option<Self> {
        let (encrypted, handshake) = match &request.encrypted {
            NoiseRequest::Handshake(handshake) => (handshake.payload_ciphertext.len(), true),
            NoiseRequest::Transport { ciphertext } => (ciphertext.len(), false),
        };
        match encrypted.checked_sub(TAG)? {
            0 if handshake => Some(Self::Handshake),
            7 => Some(Self::Delete),
            9 => Some(Self::Recover1),
            10 => Some(Self::Register1),
            68 => Some(Self::Recover3),
            89 => Some(Self::Recover2),
            663 | 664 => Some(Self::Register2),
            _ => None,
        }
    }
}

/// What happens to a request.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) enum What {
    Down,
    LoseReply,
    Hang,
    Unavailable,
    MissingSession,
    LoseReplyAndSession,
    Garbage,
    Alter,
    InvalidAuth,
    RateLimitExceeded,
    UpgradeRequired,
}

/// One line of a step's faults.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Fault {
    realm: usize,
    fault: What,
    request: Option<Kind>,
    #[serde(default = "first")]
    from: u64,
    times: Option<u64>,
}

const fn first() -> u64 {
    1
}

impl Fault {
    pub(super) const fn realm(&self) -> &usize {
        &self.realm
    }
}

/// The faults of the present step of one case, and what is left of those before.
#[derive(Default)]
pub(super) struct Faults {
    /// Each with the number of requests that it fitted.
    present: Vec<(Fault, u64)>,
    /// Realm and id of the sessions that are lost.
    lost: HashSet<(usize, u32)>,
}

impl Faults {
    /// Goes on to the next step.
    pub(super) fn replace(&mut self, faults: &[Fault]) {
        self.present = faults.iter().map(|fault| (fault.clone(), 0)).collect();
    }

    /// What happens to a request.
    pub(super) fn meet(&mut self, realm: usize, kind: Option<Kind>, session: u32) -> Option<What> {
        let mut happens = None;
        for (fault, count) in &mut self.present {
            if fault.realm != realm || fault.request.is_some_and(|which| Some(which) != kind) {
                continue;
            }
            *count += 1;
            let last =
                fault.times.map_or(u64::MAX, |times| fault.from.saturating_sub(1).saturating_add(times));
            if happens.is_none() && (fault.from..=last).contains(count) {
                happens = Some(fault.fault);
            }
        }
        if matches!(happens, Some(What::MissingSession | What::LoseReplyAndSession)) {
            let was_live = self.lost.insert((realm, session));
            return if was_live { happens } else { Some(What::MissingSession) };
        }
        if happens.is_none() && self.lost.contains(&(realm, session)) {
            return Some(What::MissingSession);
        }
        happens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        let mut faults = Faults::default();
        faults.replace(&serde_json::from_str::<Vec<Fault>>(text).expect("faults"));
        faults
    }

    #[test]
    fn a_fault_hits_the_requests_that_it_names_as_often_as_it_says() {
        let mut some = faults(
            r#"[{"realm": 1, "request": "Recover2", "fault": "loseReply", "from": 2, "times": 2},
                {"realm": 1, "request": "Recover3", "fault": "hang"}, {"realm": 2, "fault": "down", "times": 1}]"#,
        );
        let mut met = |realm, kind| some.meet(realm, Some(kind), 7);
        assert_eq!(met(0, Kind::Recover2), None);
        let hits = [None, Some(What::LoseReply), Some(What::LoseReply), None];
        assert_eq!([(); 4].map(|()| met(1, Kind::Recover2)), hits);
        assert_eq!([(); 2].map(|()| met(1, Kind::Recover3)), [Some(What::Hang); 2]);
        assert_eq!(met(2, Kind::Delete), Some(What::Down));
        assert_eq!(met(2, Kind::Delete), None);
    }

    #[test]
    fn of_two_faults_the_first_happens_and_both_count() {
        let mut some = faults(
            r#"[{"realm": 0, "fault": "down", "times": 1}, {"realm": 0, "fault": "unavailable", "times": 2}]"#,
        );
        let hits = [Some(What::Down), Some(What::Unavailable), None];
        assert_eq!([(); 3].map(|()| some.meet(0, None, 1)), hits);
    }

    #[test]
    fn a_lost_session_stays_lost_and_others_do_not() {
        let mut some = faults(r#"[{"realm": 0, "fault": "loseReplyAndSession", "times": 1}]"#);
        assert_eq!(some.meet(0, Some(Kind::Register2), 5), Some(What::LoseReplyAndSession));
        assert_eq!(some.meet(0, Some(Kind::Register2), 5), Some(What::MissingSession));
        assert_eq!(some.meet(0, Some(Kind::Register2), 6), None);
        assert_eq!(some.meet(1, Some(Kind::Register2), 5), None);
        some.replace(&[]);
        assert_eq!(some.meet(0, None, 5), Some(What::MissingSession));
    }
}
