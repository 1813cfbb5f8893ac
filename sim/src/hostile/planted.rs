//! Planted bugs: the search must find each, or it searches for nothing.

use super::{Bug, Found, Violation, search};
use std::fmt;

/// The seeds that are tried, one after another, each with the whole budget.
const SEEDS: [u64; 2] = [1, 2];

/// How many steps each seed has to find a planted bug.
pub const PLANTED_BUDGET: u64 = 50_000;

/// Bugs that this search cannot see, and why: something else must notice each (`hsm/tests`, `strongroom-sim firmware work`).
pub const UNSEEN: [(Bug, &str); 71] = [
    (Bug::NonceAsDrawn, "the generators here do not repeat themselves"),
    (Bug::NothingWithoutKey, "time is no part of it"),
    (
        Bug::OpenWithoutBound,
        "its groups have nothing to gain from more transfers than they can bring to an end",
    ),
    (Bug::SplitTooDeep, "its groups have no room for what is beside so long a prefix"),
    (Bug::InNotOwned, "to wait for what does not come gains a host nothing"),
    (Bug::InOwnedHere, "to wait for what does not come gains a host nothing"),
    (Bug::InFromItself, "to wait for what does not come gains a host nothing"),
    (Bug::SessionsWithoutBound, "three users have fewer sessions than there are places for charged ones"),
    (Bug::ChargedFillTheTable, "three users have fewer charged sessions than fill the table"),
    (Bug::ResendCountsAsUse, "three users have fewer charged sessions than fill the table"),
    (Bug::UnknownItemsStacked, "memory is no part of it"),
    (Bug::AttemptsWithoutBound, "a record that no longer fits gains a host nothing"),
    (Bug::TellsForMany, "memory is no part of it"),
    (Bug::StateBytesLeftOver, "a host writes no NVRAM"),
    (Bug::MinimumIgnored, "a host writes no NVRAM"),
    (Bug::RecordBytesLeftOver, "a host seals no record"),
    (Bug::RecordOfAnyVersion, "a host seals no record"),
    (Bug::NoMark, "the flash here loses power, and fails in no other way"),
    (Bug::FallBack, "the flash here loses power, and fails in no other way"),
    (Bug::NoReadBack, "the flash here loses power, and fails in no other way"),
    (Bug::ForgetBadUnits, "the flash here loses power, and fails in no other way"),
    (Bug::UseBadUnits, "the flash here loses power, and fails in no other way"),
    (Bug::OneCopy, "the flash here loses power, and fails in no other way"),
    (Bug::ReadErrorsIgnored, "the flash here loses power, and fails in no other way"),
    (Bug::EmptyBatchIsNothing, "an entry less gains a host nothing"),
    (Bug::EntryWithoutReplies, "an entry more gains a host nothing"),
    (Bug::ReadsMakeEntries, "an entry more gains a host nothing"),
    (Bug::ReadsWithoutBound, "the reads that wait here are few"),
    (
        Bug::AbsentTellsOfNothing,
        "what confirms a read also shows that a majority has captured the entry that the leadership began from",
    ),
    (Bug::Register1Kept, "an answer that waits gains a host nothing"),
    (Bug::ResentNotKnown, "it does not ask what is lost to a user who asks again"),
    (Bug::HandshakeKeepsSession, "it does not ask which of a user's own sessions lives"),
    (Bug::RefusedForAll, "it does not ask what is lost to a group that is refused with another"),
    (Bug::CaptureBesideCaptured, "what is stated is the captured entry all the same"),
    (Bug::SessionsOutliveLeading, "an HSM that leads no more runs nothing in a session"),
    (Bug::WriteForEachGroup, "wear is no part of it"),
    (Bug::WritesNothingNew, "wear is no part of it"),
    (Bug::NewRealmAgain, "it asks no HSM for a new realm"),
    (Bug::NewRealmAnyPolicy, "it asks no HSM for a new realm"),
    (Bug::ExportNonceWithoutRealm, "a nonce alone gains a host nothing"),
    (Bug::ImportNonceWithRealm, "a nonce alone gains a host nothing"),
    (Bug::ExportOtherRealm, "honest custodians here sign for this realm, key, policy and exporter alone"),
    (Bug::ExportOtherKey, "honest custodians here sign for this realm, key, policy and exporter alone"),
    (Bug::ExportOtherPolicy, "honest custodians here sign for this realm, key, policy and exporter alone"),
    (Bug::ExportOtherBuild, "honest custodians here sign for this realm, key, policy and exporter alone"),
    (Bug::ImportNamedOtherwise, "what is sealed here is named outside as it is inside"),
    (Bug::ImportedAsDrawn, "custodians here read no console"),
    (Bug::SameAgentSecret, "it asks for no agent secret"),
    (Bug::HsmIdNotDrawn, "no realm can be made of HSMs of one id"),
    (Bug::DeviceKeyNotDrawn, "the host here has no device whose key it knows"),
    (Bug::GroupsWithoutBound, "it makes eight groups at most"),
    (Bug::CaptureForeignRealm, "no other realm has the same keys"),
    (Bug::UnsealableIsAbsent, "a host seals no record"),
    (Bug::SealedWithoutPlace, "it does not read when a record was sealed"),
    (Bug::FrameOfAnyLength, "nothing that it sends is longer than a frame"),
    (Bug::BatchWithoutBound, "its batches are short"),
    (Bug::TreesWithoutBound, "its trees are small"),
    (Bug::RepliesWithoutBound, "every session here has room for its last reply"),
    (Bug::MinimumAsFound, "a host writes no NVRAM"),
    (Bug::StateOfAnyVersion, "a host writes no NVRAM"),
    (Bug::DeltaOfAnyVersion, "a host writes no NVRAM"),
    (Bug::BadUnitsCount, "the flash here loses power, and fails in no other way"),
    (Bug::TwoUnitsDo, "the flash here loses power, and fails in no other way"),
    (Bug::TableWithoutBound, "memory is no part of it"),
    (Bug::NotWrittenAgain, "what a cut left half written reads the same here at every start"),
    (Bug::LeaveOnlyForward, "it does not ask who can never leave"),
    (Bug::RetiredNotRepeated, "it does not ask who can never leave"),
    (Bug::RetiredWithoutBound, "it makes eight groups at most"),
    (Bug::SmallGroups, "its realm lets a group have one member"),
    (Bug::RetiredTakePlaces, "it makes eight groups at most"),
    (Bug::LeaveKeepsLeadership, "memory is no part of it"),
];

/// Every bug that it must find.
pub fn seen() -> impl Iterator<Item = Bug> {
    Bug::ALL.iter().copied().filter(|bug| UNSEEN.iter().all(|(unseen, _)| unseen != bug))
}

/// The hunt for one planted bug. Printed, it is a row of the table in `docs/hostile-host.md`.
pub struct Hunted {
    /// What was left out.
    pub bug: Bug,
    /// The seed that found it, the steps it took, and the rule that broke.
    pub found: Option<(u64, u64, Violation)>,
}

impl fmt::Display for Hunted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some((seed, steps, violation)) => {
                write!(f, "| `{:?}` | {seed} | {steps} | {violation} |", self.bug)
            }
            None => write!(f, "| `{:?}` | - | - | **missed** with each of the seeds {SEEDS:?} |", self.bug),
        }
    }
}

/// Hunts one bug with [`PLANTED_BUDGET`] steps for each seed.
#[must_use]
pub fn hunt_planted(bug: Bug) -> Hunted {
    let found = SEEDS.iter().find_map(|seed| {
        let Found { steps, broken, .. } = search(*seed, PLANTED_BUDGET, Some(bug));
        broken.map(|(_, violation)| (*seed, steps, violation))
    });
    Hunted { bug, found }
}

/// Hunts every bug and prints the table. Returns how many were missed.
#[must_use]
pub fn print_table() -> usize {
    println!("| Bug | Seed | Steps | What the oracle said |\n|---|---|---|---|");
    let mut missed = 0;
    let mut hunts = 0;
    for bug in seen() {
        hunts += 1;
        let hunted = hunt_planted(bug);
        println!("{hunted}");
        missed += usize::from(hunted.found.is_none());
    }
    println!("\n{} of {hunts} found; it cannot see:", hunts - missed);
    for (bug, why) in UNSEEN {
        println!("- `{bug:?}`: {why}");
    }
    missed
}
