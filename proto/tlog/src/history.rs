//! All requests that counted since a registration, one by one: a realm names the newest of them, and lists that were kept name those
//! before. The chain that the newest list has the head of shows whether any is missing (`docs/protocol.md`, section 17).

use std::collections::BTreeMap;
use strongroom_proto::client::{Attempt, AttemptsResponse, next_head};
use strongroom_proto::ids::{Digest, GroupId};

/// Two lists of one registration do not fit together: the realm has said one thing at one time and another at another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "two lists of this registration do not fit together, so its HSMs, or their memory, were tampered with; keep both, and ask the realm's operator"
)]
pub struct Broken;

/// What lists of one registration name together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    named: BTreeMap<u64, Attempt>,
    count: u64,
}

impl History {
    /// Joins a list with earlier ones of the same record. Those of other registrations are left out.
    ///
    /// # Errors
    /// [`Broken`], also for an earlier list that is of more requests.
    pub fn join<'a>(
        list: &'a AttemptsResponse,
        earlier: impl IntoIterator<Item = &'a AttemptsResponse>,
    ) -> Result<Self, Broken> {
        let mut joined = Joined::default();
        joined.add(list)?;
        for earlier in earlier.into_iter().filter(|earlier| earlier.version == list.version) {
            if earlier.count > list.count {
                return Err(Broken);
            }
            joined.add(earlier)?;
        }
        joined.verify(&list.version.0)?;
        let named = joined.named.into_iter().map(|(number, (_, attempt))| (number, attempt)).collect();
        Ok(Self { named, count: list.count })
    }

    /// The requests that are named, the oldest first, each with its number from 1 on.
    pub fn named(&self) -> impl Iterator<Item = (u64, &Attempt)> {
        self.named.iter().map(|(number, attempt)| (*number, attempt))
    }

    /// How many counted, the registration included.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many of them no list names. With none, these are all that counted since the registration: the chain leads from nothing to
    /// the head of the newest list.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.count.saturating_sub(self.named.len() as u64)
    }
}

/// By number: each request with the group whose log it is in, and each head that a list had.
#[derive(Default)]
struct Joined {
    named: BTreeMap<u64, (GroupId, Attempt)>,
    heads: BTreeMap<u64, Digest>,
}

impl Joined {
    fn add(&mut self, list: &AttemptsResponse) -> Result<(), Broken> {
        if *self.heads.entry(list.count).or_insert(list.head) != list.head {
            return Err(Broken);
        }
        let first = list.count.checked_sub(list.newest.len() as u64).ok_or(Broken)?;
        for (number, attempt) in (first.saturating_add(1)..).zip(&list.newest) {
            let said = (list.group, *attempt);
            if *self.named.entry(number).or_insert(said) != said {
                return Err(Broken);
            }
        }
        Ok(())
    }

    /// Follows the chain through all that is named, from nothing or from a list's head, to each list's head.
    fn verify(&self, version: &[u8; 16]) -> Result<(), Broken> {
        let mut known = Some((0, Digest([0; 32])));
        for (number, (group, attempt)) in &self.named {
            let before = number.saturating_sub(1);
            let head = match known {
                Some((count, head)) if count == before => Some(head),
                _ => self.heads.get(&before).copied(),
            };
            let head = head.map(|head| next_head(&head, version, *number, group, attempt));
            if let (Some(head), Some(said)) = (head, self.heads.get(number))
                && head != *said
            {
                return Err(Broken);
            }
            known = head.or(self.heads.get(number).copied()).map(|head| (*number, head));
        }
        Ok(())
    }
}
