//! Whether a head is what a demand wants. Pure: no I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_tlog::note::NoteError;
use strongroom_tlog::reader::tiles_for_consistency;
use strongroom_tlog::{
    Checkpoint, ClaimedCheckpoint, Note, RealmStatement, Signature, Tile, TileReader, VerifiedCheckpoint,
    VerifierKey,
};

use super::demand::{CLOCK_SKEW, HeadDemand};
use super::error::{Evidence, HeadError};

/// The most tiles that are fetched to see that a log goes on. No two sizes need more than 16.
const MAX_TILES: usize = 32;

/// A checkpoint that the realm signed. Whether it goes on from what was seen, and is watched, are other questions, in this order:
/// what shows that a log went back is worth keeping, whoever has cosigned it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) group: GroupId,
    checkpoint: Checkpoint,
    /// With the signatures that were verified, and no others.
    note: Note,
    /// When each witness that has cosigned it has done so.
    cosigned: Vec<u64>,
}

impl Head {
    /// Reads what a realm shows, and verifies that the realm in the statement signed it.
    pub(super) fn verify(shown: &[u8], statement: &RealmStatement) -> Result<Self, HeadError> {
        fn bad(error: impl ToString) -> HeadError {
            HeadError::NotOfRealm(error.to_string())
        }
        let claimed = ClaimedCheckpoint::parse(shown).map_err(bad)?;
        let group = group_of(claimed.origin(), &statement.realm)
            .ok_or_else(|| bad("it is of the log of another realm"))?;
        // How many are needed is asked later.
        let whoever = RealmStatement { cosignatures: 0, ..statement.clone() };
        let verified = claimed.verify(&whoever.policy_of(&group).map_err(bad)?).map_err(bad)?;
        let note = without_strangers(&claimed, &verified, statement).map_err(bad)?;
        let cosigned = verified.witnesses().iter().map(|(_, time)| *time).collect();
        Ok(Self { group, checkpoint: verified.checkpoint().clone(), note, cosigned })
    }

    /// That enough witnesses have cosigned it, and lately, at this Unix time.
    pub(super) fn is_watched(&self, demand: &HeadDemand, now: u64) -> Result<(), HeadError> {
        let (found, needed) = (self.cosigned.len(), demand.statement.cosignatures);
        if found < needed {
            return Err(HeadError::NotCosigned { found, needed });
        }
        are_fresh(&self.cosigned, needed, demand.max_age.as_secs(), now)
    }

    /// The log that it is of.
    pub(super) fn log(&self) -> &str {
        self.checkpoint.origin()
    }

    /// How it is remembered.
    pub(super) fn text(&self) -> String {
        self.note.to_string()
    }

    /// How it stands to the one that was seen before, if any was.
    pub(super) fn after(&self, remembered: Option<&str>) -> Result<Standing, HeadError> {
        let Some(remembered) = remembered else { return Ok(Standing::First) };
        let before = ClaimedCheckpoint::parse(remembered.as_bytes());
        let before = before.ok().filter(|before| before.origin() == self.log()).ok_or_else(|| {
            let log = self.log();
            HeadError::Memory(format!(
                "what is remembered of {log} is no checkpoint of it; find out who changed it"
            ))
        })?;
        let (old, new) = (before.claimed(), &self.checkpoint);
        if new.size() < old.size() {
            return Err(HeadError::WentBack(self.against(remembered)));
        }
        if new.size() == old.size() && new.root() != old.root() {
            return Err(HeadError::Forked(self.against(remembered)));
        }
        Ok(if new.size() == old.size() { Standing::Same } else { Standing::Grown(old.clone()) })
    }

    /// The tiles that show whether it goes on from this smaller one.
    pub(super) fn tiles_after(&self, old: &Checkpoint) -> Result<BTreeSet<Tile>, HeadError> {
        let tiles = tiles_for_consistency(old.size(), self.checkpoint.size());
        let tiles = tiles.map_err(|error| HeadError::Unproven(error.to_string()))?;
        if tiles.len() > MAX_TILES {
            return Err(HeadError::Unproven(format!("that takes more than {MAX_TILES} tiles")));
        }
        Ok(tiles)
    }

    /// That it goes on from this smaller one, by its tiles: each of them leads to its root, and so does what the tree was.
    pub(super) fn goes_on(
        &self,
        old: &Checkpoint,
        remembered: &str,
        tiles: &BTreeMap<Tile, Vec<u8>>,
    ) -> Result<(), HeadError> {
        let fetch = |tile: Tile| tiles.get(&tile).cloned().ok_or("it was not fetched");
        let root = TileReader::open(self.checkpoint.size(), self.checkpoint.root(), fetch)
            .and_then(|mut reader| reader.root_at(old.size()))
            .map_err(|error| HeadError::Unproven(error.to_string()))?;
        if root == *old.root() { Ok(()) } else { Err(HeadError::Forked(self.against(remembered))) }
    }

    fn against(&self, remembered: &str) -> Box<Evidence> {
        Box::new(Evidence { remembered: remembered.to_owned(), shown: self.text() })
    }
}

/// How a head stands to the one that was seen before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// None was seen.
    First,
    /// It is the same.
    Same,
    /// It is larger than this one, and has to be shown to go on from it.
    Grown(Checkpoint),
}

/// The group whose log this is, if it is one of the realm's.
fn group_of(origin: &str, realm: &RealmId) -> Option<GroupId> {
    let group: GroupId = origin.rsplit('/').next()?.parse().ok()?;
    (origin == strongroom_proto::checkpoint::origin(realm, &group)).then_some(group)
}

/// That enough cosignatures are neither older than this, nor from the future.
fn are_fresh(times: &[u64], needed: usize, max_age_s: u64, now: u64) -> Result<(), HeadError> {
    let latest = now.saturating_add(CLOCK_SKEW.as_secs());
    let young = times.iter().copied().filter(|time| *time >= now.saturating_sub(max_age_s));
    let (fresh, ahead): (Vec<u64>, Vec<u64>) = young.partition(|time| *time <= latest);
    if fresh.len() >= needed {
        return Ok(());
    }
    match ahead.iter().min() {
        Some(earliest) if fresh.len() + ahead.len() >= needed => {
            Err(HeadError::FromTheFuture { ahead_s: earliest.saturating_sub(now) })
        }
        _ => Err(HeadError::TooOld { fresh: fresh.len(), needed, max_age_s }),
    }
}

/// The note with the lines of the log, which were verified, and of witnesses: what is remembered has no room for what anybody adds.
fn without_strangers(
    claimed: &ClaimedCheckpoint,
    verified: &VerifiedCheckpoint,
    statement: &RealmStatement,
) -> Result<Note, NoteError> {
    let of_witness = |line: &&Signature| {
        let is_of = |key: &VerifierKey| key.name() == line.name() && key.id() == line.id();
        statement.witnesses.iter().any(is_of)
    };
    let of_log = verified.evidence().signatures().iter();
    let lines = of_log.chain(claimed.note().signatures().iter().filter(of_witness)).cloned();
    Note::new(claimed.note().text(), lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_sizes_need_more_than_16_tiles() {
        let mut draw = 1_u64;
        let mut next = || {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            draw >> (draw % 64)
        };
        let drawn = (0..2000).map(|_| (next(), next()));
        let largest =
            [(1, u64::MAX), (u64::MAX - 1, u64::MAX), (u64::MAX / 3, u64::MAX), (u64::MAX / 2 + 1, u64::MAX)];
        let most =
            drawn.chain(largest).map(|(a, b)| tiles_for_consistency(a.min(b), a.max(b)).unwrap().len()).max();
        assert!(most.is_some_and(|most| (12..=16).contains(&most)), "{most:?}");
    }

    #[test]
    fn cosignatures_count_from_as_old_as_may_be_to_as_early_as_clocks_may_differ() {
        let (now, old, skew) = (1_000_000, 600, CLOCK_SKEW.as_secs());
        let fresh = |times: &[u64], needed| are_fresh(times, needed, old, now);
        assert_eq!(fresh(&[now - old, now + skew], 2), Ok(()));
        assert_eq!(
            fresh(&[now - old - 1, now], 2),
            Err(HeadError::TooOld { fresh: 1, needed: 2, max_age_s: old })
        );
        assert_eq!(fresh(&[now, now + skew + 1], 2), Err(HeadError::FromTheFuture { ahead_s: skew + 1 }));
        assert_eq!(fresh(&[now, now + skew + 1], 1), Ok(()));
        let neither = Err(HeadError::TooOld { fresh: 0, needed: 2, max_age_s: old });
        assert_eq!(fresh(&[0, u64::MAX], 2), neither);
        assert_eq!(are_fresh(&[u64::MAX], 1, u64::MAX, u64::MAX), Ok(()));
        assert_eq!(are_fresh(&[0], 1, u64::MAX, 0), Ok(()));
    }
}
