//! What can be wrong with a transcript, each kind by its name.

use super::entry::Hex;

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("entry {entry}: {wrong}")]
pub struct Fault {
    /// The number of the line, from 1. If something is missing at the end, that of the last.
    pub entry: usize,
    /// What.
    pub wrong: Wrong,
}

/// What is wrong with a transcript. Each is one line for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each says what it is")]
pub enum Wrong {
    #[error("EMPTY: the file holds nothing")]
    Empty,
    #[error("TOO LONG: no ceremony fills 8 MiB, 10,000 entries, or 32 KiB a line")]
    TooLong,
    #[error("TRUNCATED: the line breaks off; the file was cut, or a disk was full")]
    CutOff,
    #[error("NOT AN ENTRY: the line is none of a transcript: {0}")]
    NotAnEntry(String),
    #[error("EDITED: this program would write the same entry in another way; nobody may change even a space")]
    NotCanonical,
    #[error("UNKNOWN FORM: form {0} of a transcript; a newer program may read it")]
    Format(u8),
    #[error("SPLICED: this entry is from another transcript, {0}")]
    OtherTranscript(Hex<16>),
    #[error("REORDERED: entry {0} stands here; all entries are there, in another order")]
    Reordered(u32),
    #[error("REPEATED: entry {0} stands here, and in another place too")]
    Repeated(u32),
    #[error("ENTRIES MISSING: entry {0} stands here, and none before it has this number")]
    Missing(u32),
    #[error(
        "EDITED: the entry before this one is not the one after which this was written; one of the two was changed"
    )]
    Edited,
    #[error("NO TIME: the time is not of the form 2026-11-30T09:30:00Z, in which this program writes it")]
    Time,
    #[error("NO BEGINNING: the first entry of a transcript says that it begins, and no other does")]
    Beginning,
    #[error("NO SUCH STEP: an outcome without the step that it is of")]
    NoStep,
    #[error("SPLICED: this is about realm {0}, and the transcript about another")]
    OtherRealm(Hex<16>),
    #[error("SPLICED: the public key, policy or making of the realm is not that of the entries before")]
    OtherKeys,
    #[error("WRONG POLICY: the policy is not what was asked for, or none that an HSM takes")]
    Policy,
    #[error("WRONG OUTCOME: {0} is not that of the step before")]
    Differs(&'static str),
    #[error("BAD SIGNATURE: that of custodian {0} is not over this")]
    BadSignature(Hex<32>),
    #[error("NOT A CUSTODIAN: {0} is not named by the realm's policy")]
    Stranger(Hex<32>),
    #[error("TOO FEW SIGNATURES: {0} custodians signed this, and the policy wants {1}")]
    TooFew(usize, u8),
    #[error(
        "EDITED AFTER IT WAS SIGNED: the signature of custodian {0} is not over the entries before this one; it is from another \
         transcript, or one of them was changed"
    )]
    BadHead(Hex<32>),
    #[error(
        "INCOMPLETE: how the realm was made is not in it; carry the file that `realm create` began from machine to machine"
    )]
    NotMade,
    #[error(
        "INCOMPLETE: the founding with the custodians' signatures is not in it; `realm found` writes that"
    )]
    NotFounded,
    #[error("INCOMPLETE: HSM {0} exported the realm, and how it got it is not in this transcript")]
    UnknownExporter(Hex<16>),
    #[error("NOT APPROVED: HSM {0} has the realm, and no approved export to it is in this transcript")]
    NotExported(Hex<16>),
    #[error(
        "TRUNCATED, or not ended yet: no custodian ended it here; if this is all of it, each runs `realm transcript sign`"
    )]
    NotEnded,
    #[error(
        "UNSIGNED: {0} custodians signed the end, and the policy wants {1}; each runs `realm transcript sign`"
    )]
    Unsigned(usize, u8),
    #[error(
        "UNSIGNED: the realm is closed and has no custodians, so nobody signs its transcript, and anybody could have written it; \
         say --closed if you expect that"
    )]
    NobodySigns,
    #[error(
        "NOT CLOSED: the realm has {0} custodians, and you expected a closed one; leave out --closed, and name the custodians"
    )]
    NotClosed(usize),
    #[error("ANOTHER REALM: it is about realm {0}, not about the one that you named")]
    NotExpectedRealm(Hex<16>),
    #[error(
        "ANOTHER REALM: its public key is {0}, not the one that you named; somebody wrote this with keys of their own"
    )]
    NotExpectedKey(Hex<32>),
    #[error(
        "OTHER CUSTODIANS: it names {0}, and you did not; name all of them if that is one, or else somebody wrote this with keys of \
         their own"
    )]
    OtherCustodian(Hex<32>),
    #[error(
        "OTHER CUSTODIANS: it does not name {0}, and you did; if that is one, somebody wrote this with keys of their own"
    )]
    NoCustodian(Hex<32>),
    #[error(
        "WRONG POLICY: {0} custodians are enough here, and not {1}; say `--threshold {0}` only if that was agreed upon, since fewer \
         can write a whole transcript"
    )]
    OtherThreshold(u8, u8),
    #[error("LONGER: the head that you wrote down is that of entry {0}; what follows was added later")]
    Longer(usize),
    #[error(
        "ANOTHER HEAD: no entry has the head that you wrote down; this is another transcript, or a part of it is gone"
    )]
    OtherHead,
}

impl Wrong {
    /// The same, at this entry.
    pub(super) const fn at(self, entry: usize) -> Fault {
        Fault { entry, wrong: self }
    }
}
