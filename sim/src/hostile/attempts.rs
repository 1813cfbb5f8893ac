//! What is said of the requests that counted: the oracle's rule on it.
//!
//! The list, its chain and what is signed are read here as `docs/protocol.md` section 17 has them, apart from the core.

use super::keys::hash;
use super::model::Happening;
use super::parts::Kept;
use super::step::Made;
use super::world::World;
use ed25519_dalek::{Signature, SigningKey};
use strongroom_proto::client::{AttemptsResponse, MAX_ATTEMPTS, SecretsResponse};
use strongroom_proto::ids::Index;

const RULE: &str = "attempts are what counted";

/// A request that counted: index, what came of it, guesses left.
type Counted = (u64, u8, u8);

/// The head of the chain after one more, of which no time was told.
fn next(head: &[u8; 32], number: u64, (index, what, left): Counted, said: &AttemptsResponse) -> [u8; 32] {
    let attempt = [&index.to_be_bytes()[..], &[0; 6], &[what, left]].concat();
    let fields: [&[u8]; 5] = [head, &said.version.0, &number.to_be_bytes(), &said.group.0, &attempt];
    hash("strongroom attempt 1", &fields)
}

impl World {
    /// What is said of a user's attempts is signed, and is what the committed entries say up to the one that it is said as of.
    pub(super) fn judge_attempts(&mut self, kept: &Kept, response: &SecretsResponse) {
        let SecretsResponse::Attempts(said) = response else { return };
        match self.are_right(kept.user, said) {
            Ok(()) => {
                self.cover("(attempts)", "owner", if said.newest.is_empty() { "none" } else { "some" }.into())
            }
            Err(what) => {
                let what = format!("user {} was told of attempts {what}", kept.user);
                self.violate(RULE, what);
            }
        }
    }

    fn are_right(&self, user: u8, said: &AttemptsResponse) -> Result<(), String> {
        let realm = &self.founding.realm.realm;
        let bytes = said.to_bytes();
        let unsigned = &bytes[..bytes.len() - 64];
        let by = SigningKey::from_bytes(&self.founding.keys.checkpoints).verifying_key();
        let signature = Signature::from_bytes(&said.signature);
        if by.verify_strict(&hash("strongroom attempts 1", &[&realm.0, unsigned]), &signature).is_err() {
            return Err("that anybody could have made up".into());
        }
        if said.index == Index::ZERO {
            return if said.count == 0 { Ok(()) } else { Err("before there was any entry".into()) };
        }
        let known = self.by_hash.get(&said.hash).and_then(|made| Some((*made, self.entries.get(made)?)));
        let Some((made, _)) = known.filter(|(_, known)| {
            let is_same = known.entry.index == said.index && self.groups[known.group].id == said.group;
            is_same && known.is_committed && !known.is_forged
        }) else {
            return Err("as of what is not committed".into());
        };
        let (wanted, is_whole) = self.counted(user, made);
        let newest: Vec<Counted> = said.newest.iter().map(|a| (a.index.0, a.what, a.guesses_left)).collect();
        if newest != wanted[wanted.len().saturating_sub(MAX_ATTEMPTS)..] {
            return Err(format!("that are not {wanted:?}"));
        }
        let count = wanted.len() as u64;
        if said.count < count || is_whole && said.count > count {
            return Err(format!("of which there were {count}"));
        }
        let head =
            (1..).zip(&wanted).fold([0; 32], |head, (number, counted)| next(&head, number, *counted, said));
        if is_whole && said.head.0 != head {
            return Err("with the head of another chain".into());
        }
        Ok(())
    }

    /// What counted on a user's record since it was registered, or since its group has it, up to an entry; and whether that is all.
    fn counted(&self, user: u8, until: Made) -> (Vec<Counted>, bool) {
        let (record, mut counted) = (self.clients().record(user), Vec::new());
        let mut at = self.entries.get(&until).filter(|known| known.records.has_leaf(user));
        while let Some(known) = at.filter(|known| known.holds.iter().any(|prefix| prefix.contains(&record))) {
            for kept in known.kept.iter().rev().filter(|kept| kept.user == user) {
                if kept.happening != Happening::Nothing {
                    counted.push((known.entry.index.0, kept.happening as u8, kept.left));
                }
                if kept.is_new {
                    counted.reverse();
                    return (counted, true);
                }
            }
            at = known.parent.and_then(|parent| self.entries.get(&parent));
        }
        counted.reverse();
        (counted, false)
    }
}
