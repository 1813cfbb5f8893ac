//! What is cosigned, and what is refused.
//!
//! Kept here: of each log, every head that was cosigned goes on from the one cosigned before, and no cosignature says an earlier time
//! than the one before it, across restarts. A head is in the storage with its time before its cosignature leaves, and the lock of its log
//! is held from the comparison to that.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use strongroom_proto::ids::TreeHash;
use strongroom_tlog::add_checkpoint::RequestError;
use strongroom_tlog::proof::{ProofError, empty_root};
use strongroom_tlog::{
    AddCheckpoint, Checkpoint, Note, Policy, SigningKey, VerifiedCheckpoint, verify_consistency,
};

/// What was cosigned last of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// When, in seconds since 1970.
    pub time: u64,
    /// The checkpoint as the log signed it: evidence, should it later sign one that does not fit.
    pub evidence: Note,
}

/// Why what was cosigned last cannot be read or kept.
pub type StorageError = Box<dyn std::error::Error + Send + Sync>;

/// Where the head that was cosigned last of each log is kept.
pub trait Storage: Send + Sync + 'static {
    /// The last one of this log. None if there never was one.
    ///
    /// # Errors
    /// If that is not certain.
    fn load(&self, origin: &str) -> Result<Option<Head>, StorageError>;

    /// Keeps this one instead. What it returns after survives a crash.
    ///
    /// # Errors
    /// If it is not certain that it is kept. Either one may be.
    fn keep(&self, head: &Head) -> Result<(), StorageError>;
}

/// Unix time in seconds.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// What is answered, and so the status code of HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 200: the signature line.
    Cosigned(String),
    /// 400: the request cannot be understood.
    Malformed(RequestError),
    /// 400: the checkpoint is older than the request says.
    OldIsLarger,
    /// 404: the log is not one of those that are watched.
    UnknownLog,
    /// 403: no key of the log has signed it, or a signature of one is bad.
    Unsigned,
    /// 409: this is the size that was cosigned last, not the one that the request names; or it is, but with another root.
    Conflict(u64),
    /// 422: the tree does not go on from the one that was cosigned last.
    Refuted(ProofError),
    /// 503: it cannot be kept, or the clock is behind. Nothing was cosigned.
    Unavailable,
}

struct Log {
    policy: Policy,
    last: Mutex<Option<Head>>,
}

/// A witness with the logs that it watches.
pub struct Witness<S> {
    key: SigningKey,
    logs: BTreeMap<String, Log>,
    storage: S,
    clock: Clock,
}

impl<S: Storage> Witness<S> {
    /// A witness that goes on with what `storage` has. The key is one for cosignatures.
    ///
    /// # Errors
    /// Those of `storage`: a witness must not start anew.
    pub fn open(
        key: SigningKey,
        logs: impl IntoIterator<Item = Policy>,
        storage: S,
        clock: Clock,
    ) -> Result<Self, StorageError> {
        let mut opened = BTreeMap::new();
        for policy in logs {
            let last = Mutex::new(storage.load(policy.origin())?);
            opened.insert(policy.origin().to_owned(), Log { policy, last });
        }
        Ok(Self { key, logs: opened, storage, clock })
    }

    /// Where heads are kept.
    pub const fn storage(&self) -> &S {
        &self.storage
    }

    /// The logs, with the sizes that were cosigned last.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.logs.iter().map(|(origin, log)| (origin.as_str(), size_of(log.last.lock().as_ref())))
    }

    /// Answers a request. Blocks while the head is written.
    pub fn add_checkpoint(&self, body: &[u8]) -> Answer {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return Answer::Malformed(error),
        };
        let Some(log) = self.logs.get(request.checkpoint.origin()) else { return Answer::UnknownLog };
        let Ok(verified) = request.checkpoint.verify(&log.policy) else { return Answer::Unsigned };
        if request.old > verified.checkpoint().size() {
            return Answer::OldIsLarger;
        }
        let mut last = log.last.lock();
        if let Some(refusal) = refusal(last.as_ref(), &request, verified.checkpoint()) {
            return refusal;
        }
        self.cosign(&mut last, &request, &verified)
    }

    /// Cosigns a head that goes on from the last one.
    fn cosign(
        &self,
        last: &mut Option<Head>,
        request: &AddCheckpoint,
        verified: &VerifiedCheckpoint,
    ) -> Answer {
        let origin = request.checkpoint.origin();
        let time = (self.clock)();
        if let Some(ahead) =
            last.as_ref().and_then(|last| last.time.checked_sub(time)).filter(|ahead| *ahead > 0)
        {
            // What was said of that later time would not be so.
            tracing::error!(
                origin,
                ahead,
                "the clock is behind the last cosignature by this many seconds; set it right"
            );
            return Answer::Unavailable;
        }
        let checkpoint = verified.checkpoint();
        let is_known = last.as_ref().is_some_and(|last| last.checkpoint.size() == checkpoint.size());
        // Whoever asks again and again has it written once a second.
        let is_kept = is_known && last.as_ref().is_some_and(|last| last.time == time);
        let head = Head { checkpoint: checkpoint.clone(), time, evidence: verified.evidence().clone() };
        if !is_kept && let Err(error) = self.storage.keep(&head) {
            tracing::error!(origin, %error, "what was to be cosigned cannot be kept; nothing was cosigned");
            return Answer::Unavailable;
        }
        // Durable: the head is kept.
        *last = Some(head);
        match self.key.cosign(request.checkpoint.note().text(), time) {
            Ok(signature) => {
                tracing::info!(origin, size = checkpoint.size(), root = %checkpoint.root(), again = is_known, "cosigned");
                Answer::Cosigned(format!("{signature}\n"))
            }
            Err(error) => {
                tracing::error!(origin, %error, "nothing was cosigned");
                Answer::Unavailable
            }
        }
    }
}

fn size_of(last: Option<&Head>) -> u64 {
    last.map_or(0, |last| last.checkpoint.size())
}

/// Why this checkpoint is not cosigned after that head.
fn refusal(last: Option<&Head>, request: &AddCheckpoint, new: &Checkpoint) -> Option<Answer> {
    let size = size_of(last);
    if request.old != size {
        return Some(Answer::Conflict(size));
    }
    let root: TreeHash = last.map_or_else(empty_root, |last| *last.checkpoint.root());
    if new.size() == size && *new.root() != root {
        let evidence = evidence(last, request);
        tracing::error!(
            origin = new.origin(),
            size,
            evidence,
            "the log has signed two trees of one size; keep this line"
        );
        return Some(Answer::Conflict(size));
    }
    if new.size() == size && *new.root() == root && !request.proof.is_empty() {
        // Nothing that the log did: anybody can ask so.
        return Some(Answer::Refuted(ProofError::Length { found: request.proof.len() }));
    }
    let error = verify_consistency(size, &root, new.size(), new.root(), &request.proof).err()?;
    let evidence = evidence(last, request);
    tracing::warn!(
        origin = new.origin(),
        size,
        evidence,
        "no proof that the log goes on from what was cosigned"
    );
    Some(Answer::Refuted(error))
}

/// Both checkpoints, for the log: it has signed both.
fn evidence(last: Option<&Head>, request: &AddCheckpoint) -> String {
    let before = last.map(|last| last.evidence.to_string()).unwrap_or_default();
    format!("{before}\n{}", request.checkpoint)
}
