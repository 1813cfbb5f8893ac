//! Whose request it is, as agents note it beside the log for whoever tells tenants later.
//!
//! Sealed under a key that the realm's agents derive from the key of record ids: the bucket holds no names of users. Agents could note what they
//! like; an HSM checks that tenant and user give the record that an event is about.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use strongroom_proto::events::MAX_NAME_BYTES;
use strongroom_proto::hash::mac;
use strongroom_proto::ids::{Digest, Mac};
use strongroom_replica::{MAX_OWNER_BYTES, Owner};
use zeroize::Zeroizing;

/// The label of the key. Here and not in proto, because no HSM and no client knows it.
const KEY: &str = "strongroom event owner 1";
/// The version of what is sealed.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Before the names: version, time, length of the tenant's name, length of the user's.
const HEAD: usize = 11;
/// What is sealed has a multiple of this many bytes, so that a name's length shows only roughly.
const STEP: usize = 32;

const _: () = assert!(NONCE_BYTES + TAG_BYTES + HEAD + 2 * MAX_NAME_BYTES + STEP <= MAX_OWNER_BYTES);

/// The key under which the realm's agents note whose requests are.
// Secret: wiped when dropped.
#[derive(Clone)]
pub struct OwnerKey(Zeroizing<[u8; 32]>);

/// Whose a request was, and when it came.
#[derive(Clone, PartialEq, Eq)]
pub struct WhoAsked {
    /// The tenant.
    pub tenant: String,
    /// The user, as the tenant names them.
    pub user: String,
    /// When the agent saw the request, in milliseconds since 1970.
    pub time: u64,
}

impl OwnerKey {
    /// The key that goes with a key of record ids.
    #[must_use]
    pub fn of(record_id_key: &Digest) -> Self {
        let Mac(Digest(key)) = mac(&record_id_key.0, KEY, &[]);
        Self(Zeroizing::new(key))
    }

    /// Notes who asked. Nothing is noted of names that no HSM tells anybody of, which are longer than [`MAX_NAME_BYTES`].
    #[must_use]
    pub fn seal(&self, who: &WhoAsked) -> Owner {
        let lengths = (u8::try_from(who.tenant.len()), u8::try_from(who.user.len()));
        let (Ok(tenant), Ok(user)) = lengths else { return Owner::default() };
        // Secret: who the user is.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_OWNER_BYTES));
        text.push(VERSION);
        text.extend_from_slice(&who.time.to_be_bytes());
        text.extend_from_slice(&[tenant, user]);
        text.extend_from_slice(who.tenant.as_bytes());
        text.extend_from_slice(who.user.as_bytes());
        let padded = text.len().next_multiple_of(STEP);
        text.resize(padded, 0);
        let mut nonce = [0; NONCE_BYTES];
        if getrandom::fill(&mut nonce).is_err() {
            return Owner::default();
        }
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), text.as_slice());
        Owner(sealed.map(|sealed| [&nonce[..], &sealed].concat()).unwrap_or_default())
    }

    /// Reads what [`Self::seal`] made. None for anything else.
    #[must_use]
    pub fn open(&self, owner: &[u8]) -> Option<WhoAsked> {
        let (nonce, sealed) = owner.split_first_chunk::<NONCE_BYTES>()?;
        let text = Zeroizing::new(self.cipher().decrypt(&XNonce::from(*nonce), sealed).ok()?);
        let (head, names) = text.split_first_chunk::<HEAD>()?;
        let [version, time @ .., tenant, user] = head;
        let (tenant, rest) = names.split_at_checked(usize::from(*tenant))?;
        let user = rest.get(..usize::from(*user))?;
        let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let time = u64::from_be_bytes(*time);
        (*version == VERSION).then_some(WhoAsked { tenant: name(tenant)?, user: name(user)?, time })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }
}

/// Without the user.
impl std::fmt::Debug for WhoAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WhoAsked")
            .field("tenant", &self.tenant)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str) -> WhoAsked {
        WhoAsked { tenant: "acme".into(), user: user.into(), time: 1_764_000_000_123 }
    }

    #[test]
    fn what_is_noted_is_read_with_the_same_key_alone_and_only_whole() {
        let key = OwnerKey::of(&Digest([1; 32]));
        let note = key.seal(&who("someone"));
        assert_eq!(key.open(&note.0), Some(who("someone")));
        assert_eq!(OwnerKey::of(&Digest([2; 32])).open(&note.0), None);
        for at in 0..note.0.len() {
            let mut changed = note.0.clone();
            changed[at] ^= 1;
            assert!(key.open(&changed).is_none() && key.open(&note.0[..at]).is_none(), "byte {at}");
        }
        assert!(!note.0.windows(7).any(|window| window == b"someone"));
        assert_ne!(key.seal(&who("someone")), note, "each has a nonce of its own");
    }

    #[test]
    fn a_note_is_never_longer_than_a_replica_takes_and_shows_a_names_length_only_roughly() {
        let key = OwnerKey::of(&Digest([1; 32]));
        let longest = WhoAsked { tenant: "t".repeat(255), user: "u".repeat(255), time: u64::MAX };
        let note = key.seal(&longest);
        assert!(note.0.len() <= MAX_OWNER_BYTES && key.open(&note.0) == Some(longest));
        assert_eq!(key.seal(&who(&"u".repeat(256))), Owner::default());
        assert_eq!(key.seal(&who("a")).0.len(), key.seal(&who("seventeen letters")).0.len());
        assert!(!format!("{:?}", who("someone")).contains("someone"));
    }
}
