//! What can be asked of an HSM, each request with the reply that it names.
//!
//! Owns which reply answers which request, and the bytes of a request: [`Asked`] makes them once. A reply is what the
//! link brought; [`read`] turns it into the answer that was asked for, or says what came instead.

use strongroom_proto::enrolment::{CustodianSignature, ExportApproval, RealmPolicy, SealedRealm};
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{SealedEvents, Settled, Telling};
use strongroom_proto::hsm::{
    self, BatchRequest, CaptureOutcome, DeviceStatus, GroupEntries, Made, Outcome, PrefixTree, ReadReply,
    Refusal, Released, Reply, Request,
};
use strongroom_proto::ids::{GroupId, Nonce, Term};
use strongroom_proto::statement::{Captured, GroupStatement, Head, MemberStatement, Past};

/// A request that names the HSM's answer to it. What each checks and changes is at the [`Request`] of its name.
pub trait Ask {
    /// What the HSM answers, unless it refuses.
    type Answer;

    /// The request.
    fn into_request(self) -> Request;

    /// The answer in a reply.
    ///
    /// # Errors
    /// [`Unanswered`], except where a reply was lost.
    fn answer(reply: Reply) -> Result<Self::Answer, Unanswered>;
}

/// Why there is no answer. What it says follows "the HSM does not …:".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// The HSM refused, and nothing changed.
    #[error("{0}")]
    Refused(Refusal),
    /// The HSM answered something else. The agent and the HSM run different versions.
    #[error("it runs another version")]
    Senseless,
    /// No reply came. The request may have been carried out.
    #[error("it does not answer")]
    Lost,
}

/// Reads what came of a request; `None` for a reply that was lost.
///
/// # Errors
/// [`Unanswered`].
pub fn read<A: Ask>(reply: Option<Reply>) -> Result<A::Answer, Unanswered> {
    match reply {
        Some(Reply::Refused(refusal)) => Err(Unanswered::Refused(refusal)),
        Some(reply) => A::answer(reply),
        None => Err(Unanswered::Lost),
    }
}

/// A request on its way to the HSM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    bytes: Vec<u8>,
    about: About,
}

/// What a request is about. Requests about the whole HSM, or about the same group, keep their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    /// The HSM.
    Device,
    /// One group.
    Group(GroupId),
    /// A capture of one group, which may go in one request with those of other groups.
    Capture(GroupEntries),
}

impl Asked {
    /// The request that asks this.
    #[must_use]
    pub fn new(ask: impl Ask) -> Self {
        ask.into_request().into()
    }

    /// The request that runs a batch, and what is in the batch back: its sender keeps that until it is run.
    pub(crate) fn batch(
        group: GroupId,
        trees: Vec<PrefixTree>,
        requests: Vec<BatchRequest>,
    ) -> (Self, Vec<BatchRequest>) {
        let request = Request::Process { group, trees, requests };
        let asked = Self { bytes: to_bytes(&request), about: About::Group(group) };
        let Request::Process { requests, .. } = request else { return (asked, Vec::new()) };
        (asked, requests)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What it is about.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Its only group.
    #[must_use]
    pub const fn group(&self) -> Option<GroupId> {
        match &self.about {
            About::Device => None,
            About::Group(group) => Some(*group),
            About::Capture(of) => Some(of.group),
        }
    }
}

/// # Panics
/// Never: a vector takes all bytes.
fn to_bytes(request: &Request) -> Vec<u8> {
    minicbor::to_vec(request).expect("a vector takes all bytes")
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        let bytes = to_bytes(&request);
        let about = match request {
            Request::Lead(group, _)
            | Request::StepDown(group)
            | Request::Handshake(group, _)
            | Request::Process { group, .. }
            | Request::Commit { group, .. }
            | Request::Fresh(group, _)
            | Request::DrawReadNonce(group)
            | Request::Change(group, _)
            | Request::Leave(group, _)
            | Request::Confirm { group, .. } => About::Group(group),
            Request::Jump(entry, _) => About::Group(entry.group),
            Request::ExtendHead { entries, .. } => {
                entries.first().map_or(About::Device, |entry| About::Group(entry.group))
            }
            Request::SignHead { head, .. } => About::Group(head.group),
            Request::Tell { entries, .. } => {
                entries.first().map_or(About::Device, |entry| About::Group(entry.group))
            }
            Request::Capture(mut groups) if groups.len() == 1 => {
                groups.pop().map_or(About::Device, About::Capture)
            }
            Request::DeviceStatus
            | Request::NewRealm(_)
            | Request::ExportNonce
            | Request::ImportNonce
            | Request::ExportRealm(..)
            | Request::JoinRealm(_)
            | Request::NewGroup(_)
            | Request::JoinGroup(_)
            | Request::Capture(_)
            | Request::AgentSecret(_) => About::Device,
        };
        Self { bytes, about }
    }
}

/// Pairs a request with its reply.
macro_rules! ask {
    ($ask:ident -> $answer:ty, $fields:pat => $request:expr, $reply:pat => $read:expr) => {
        impl Ask for $ask {
            type Answer = $answer;

            fn into_request(self) -> Request {
                let $fields = self;
                $request
            }

            fn answer(reply: Reply) -> Result<$answer, Unanswered> {
                match reply {
                    $reply => Ok($read),
                    _ => Err(Unanswered::Senseless),
                }
            }
        }
    };
}

/// [`Request::DeviceStatus`].
#[derive(Clone, Copy, Debug)]
pub struct Status;
ask!(Status -> DeviceStatus, Self => Request::DeviceStatus, Reply::Device(status) => status);

/// [`Request::NewRealm`].
#[derive(Clone, Debug)]
pub struct NewRealm(pub RealmPolicy);
ask!(NewRealm -> DeviceStatus, Self(policy) => Request::NewRealm(policy), Reply::Device(status) => status);

/// [`Request::ExportNonce`].
#[derive(Clone, Copy, Debug)]
pub struct ExportNonce;
ask!(ExportNonce -> Nonce, Self => Request::ExportNonce, Reply::ExportNonce(nonce) => nonce);

/// [`Request::ExportRealm`].
#[derive(Clone, Debug)]
pub struct ExportRealm(pub ExportApproval, pub Vec<CustodianSignature>);
ask!(
    ExportRealm -> SealedRealm,
    Self(approval, signatures) => Request::ExportRealm(approval, signatures),
    Reply::Exported(sealed) => sealed
);

/// [`Request::JoinRealm`].
#[derive(Clone, Debug)]
pub struct JoinRealm(pub SealedRealm);
ask!(JoinRealm -> DeviceStatus, Self(sealed) => Request::JoinRealm(sealed), Reply::Device(status) => status);

/// [`Request::NewGroup`].
#[derive(Clone, Debug)]
pub struct NewGroup(pub Vec<MemberStatement>);
ask!(NewGroup -> GroupStatement, Self(members) => Request::NewGroup(members), Reply::Group(made) => made);

/// [`Request::JoinGroup`].
#[derive(Clone, Debug)]
pub struct JoinGroup(pub GroupStatement);
ask!(JoinGroup -> GroupStatement, Self(group) => Request::JoinGroup(group), Reply::Group(joined) => joined);

/// [`Request::Jump`].
#[derive(Clone, Debug)]
pub struct Jump(pub Entry, pub strongroom_proto::statement::Committed);
ask!(Jump -> Captured, Self(to, committed) => Request::Jump(to, committed), Reply::Captured(captured) => captured);

/// [`Request::Lead`].
#[derive(Clone, Debug)]
pub struct Lead(pub GroupId, pub Option<Entry>);
ask!(Lead -> Term, Self(group, from) => Request::Lead(group, from), Reply::Leading(term) => term);

/// [`Request::StepDown`].
#[derive(Clone, Copy, Debug)]
pub struct StepDown(pub GroupId);
ask!(StepDown -> (), Self(group) => Request::StepDown(group), Reply::Done => ());

/// [`Request::Handshake`].
#[derive(Clone, Debug)]
pub struct Handshake(pub GroupId, pub BatchRequest);
ask!(
    Handshake -> Outcome,
    Self(group, request) => Request::Handshake(group, request),
    Reply::Handshaken(outcome) => outcome
);

/// [`Request::Process`].
#[derive(Clone, Debug)]
pub struct Process {
    /// The group.
    pub group: GroupId,
    /// A partial tree for each prefix that the batch needs.
    pub trees: Vec<PrefixTree>,
    /// The requests, in the order in which to run them.
    pub requests: Vec<BatchRequest>,
}

/// [`Reply::Processed`].
#[derive(Clone, Debug)]
pub struct Processed {
    /// One for each request, in order.
    pub outcomes: Vec<Outcome>,
    /// The entry, if one was made.
    pub made: Option<Made>,
}
ask!(
    Process -> Processed,
    Self { group, trees, requests } => Request::Process { group, trees, requests },
    Reply::Processed { outcomes, made } => Processed { outcomes, made }
);

/// [`Request::Change`].
#[derive(Clone, Debug)]
pub struct Change(pub GroupId, pub strongroom_proto::change::Change);
ask!(
    Change -> Made,
    Self(group, change) => Request::Change(group, change),
    Reply::Processed { made: Some(made), .. } => made
);

/// [`Request::Leave`].
#[derive(Clone, Debug)]
pub struct Leave(pub GroupId, pub Option<strongroom_proto::change::Retirement>);
ask!(
    Leave -> strongroom_proto::statement::Retired,
    Self(group, proof) => Request::Leave(group, proof),
    Reply::Retired(statement) => statement
);

/// [`Request::ExtendHead`].
#[derive(Clone, Debug)]
pub struct ExtendHead {
    /// A head that any HSM of the realm stated.
    pub from: Option<Head>,
    /// The entries that follow.
    pub entries: Vec<Entry>,
}
ask!(
    ExtendHead -> Head,
    Self { from, entries } => Request::ExtendHead { from, entries },
    Reply::Head(head) => head
);

/// [`Request::SignHead`].
#[derive(Clone, Debug)]
pub struct SignHead {
    /// A head that any HSM of the realm stated.
    pub head: Head,
    /// That exactly its entry is committed.
    pub committed: strongroom_proto::statement::Committed,
}
ask!(
    SignHead -> [u8; 64],
    Self { head, committed } => Request::SignHead { head, committed },
    Reply::Checkpoint(signature) => *signature
);

/// [`Request::Tell`].
#[derive(Clone, Debug)]
pub struct Tell {
    /// That the last of the entries is committed.
    pub settled: Settled,
    /// The entry, and those that follow it.
    pub entries: Vec<Entry>,
    /// Which of its events to seal, and for whom.
    pub telling: Option<Telling>,
}

/// [`Reply::Told`].
#[derive(Clone, Debug)]
pub struct Told {
    /// That the first entry comes before one that is committed.
    pub past: Past,
    /// Its events.
    pub sealed: Option<SealedEvents>,
}
ask!(
    Tell -> Told,
    Self { settled, entries, telling } => Request::Tell { settled, entries, telling },
    Reply::Told { past, sealed } => Told { past, sealed }
);

/// [`Request::Commit`].
#[derive(Clone, Debug)]
pub struct Commit {
    /// The group.
    pub group: GroupId,
    /// Statements of members.
    pub statements: Vec<Captured>,
}

/// [`Reply::Committed`].
#[derive(Clone, Debug)]
pub struct Committed {
    /// The statement that a majority has captured its entry.
    pub statement: strongroom_proto::statement::Committed,
    /// The replies of the leader's own entries up to that one that were not released before.
    pub released: Vec<Released>,
}
ask!(
    Commit -> Committed,
    Self { group, statements } => Request::Commit { group, statements },
    Reply::Committed { statement, released } => Committed { statement, released }
);

/// [`Request::Fresh`].
#[derive(Clone, Copy, Debug)]
pub struct Fresh(pub GroupId, pub Nonce);
ask!(
    Fresh -> strongroom_proto::statement::Fresh,
    Self(group, nonce) => Request::Fresh(group, nonce),
    Reply::Fresh(statement) => statement
);

/// [`Request::DrawReadNonce`].
#[derive(Clone, Copy, Debug)]
pub struct DrawReadNonce(pub GroupId);
ask!(DrawReadNonce -> Nonce, Self(group) => Request::DrawReadNonce(group), Reply::ReadNonce(nonce) => nonce);

/// [`Request::Confirm`].
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The group.
    pub group: GroupId,
    /// Statements of members.
    pub statements: Vec<strongroom_proto::statement::Fresh>,
}
ask!(
    Confirm -> Vec<ReadReply>,
    Self { group, statements } => Request::Confirm { group, statements },
    Reply::Confirmed(released) => released
);

/// [`Request::AgentSecret`] of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct AgentSecret(pub u32);
ask!(
    AgentSecret -> hsm::AgentSecret,
    Self(epoch) => Request::AgentSecret(epoch),
    Reply::AgentSecret(secret) => secret
);

/// [`Request::ImportNonce`].
#[derive(Clone, Copy, Debug)]
pub struct ImportNonce;
ask!(ImportNonce -> Nonce, Self => Request::ImportNonce, Reply::ImportNonce(nonce) => nonce);

/// [`Request::Capture`] of one group.
#[derive(Clone, Debug)]
pub struct Capture(pub GroupId, pub Vec<Entry>);

impl Ask for Capture {
    type Answer = Captured;

    fn into_request(self) -> Request {
        Request::capture(self.0, self.1)
    }

    fn answer(reply: Reply) -> Result<Captured, Unanswered> {
        let Reply::Captures(outcomes) = reply else { return Err(Unanswered::Senseless) };
        match <[CaptureOutcome; 1]>::try_from(outcomes) {
            Ok([CaptureOutcome::Captured(captured)]) => Ok(captured),
            Ok([CaptureOutcome::Refused(refusal)]) => Err(Unanswered::Refused(refusal)),
            Err(_) => Err(Unanswered::Senseless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_that_a_request_names_is_its_answer() {
        let term = Term([3; 16]);
        assert_eq!(read::<Lead>(Some(Reply::Leading(term))), Ok(term));
        assert_eq!(read::<StepDown>(Some(Reply::Leading(term))), Err(Unanswered::Senseless));
        let busy = Reply::Refused(Refusal::Busy);
        assert_eq!(read::<StepDown>(Some(busy)), Err(Unanswered::Refused(Refusal::Busy)));
        assert_eq!(read::<StepDown>(None), Err(Unanswered::Lost));
    }

    #[test]
    fn a_capture_is_answered_for_its_one_group_alone() {
        let refused = || CaptureOutcome::Refused(Refusal::NotConsecutive);
        let of = |outcomes| read::<Capture>(Some(Reply::Captures(outcomes)));
        assert_eq!(of(vec![refused()]), Err(Unanswered::Refused(Refusal::NotConsecutive)));
        assert_eq!(of(vec![]), Err(Unanswered::Senseless));
        assert_eq!(of(vec![refused(), refused()]), Err(Unanswered::Senseless));
    }

    #[test]
    fn a_request_knows_its_group_and_a_capture_of_one_group_can_be_joined() {
        let group = GroupId([7; 16]);
        assert_eq!(Asked::new(StepDown(group)).about(), &About::Group(group));
        assert_eq!(Asked::new(Status).about(), &About::Device);
        let capture = Asked::new(Capture(group, Vec::new()));
        assert_eq!(capture.about(), &About::Capture(GroupEntries { group, entries: Vec::new() }));
        assert_eq!(capture.group(), Some(group));
        assert_eq!(Asked::from(Request::Capture(Vec::new())).about(), &About::Device);
    }
}
