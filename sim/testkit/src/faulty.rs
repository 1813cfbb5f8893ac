//! An object store that fails on purpose, decided by a seed.
//!
//! Sits below an agent's store, where a cloud's client would. Every fault is one that such a client shows: an answer
//! that does not come, comes late, or comes as an error, whether or not the call was carried out. Under one seed, the
//! same calls in the same order meet the same faults.

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const STORE: &str = "faulty";
/// How many names are remembered as newest.
const REMEMBERED: usize = 64;

/// What goes wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Nothing is done, and no answer comes.
    TimeoutBefore,
    /// It is done, and no answer comes.
    TimeoutAfter,
    /// It is done, and reported failed.
    KeptButFailed,
    /// It is done twice, as by a client that re-sends: a create meets its own object.
    SentTwice,
    /// Nothing is done: 409, which a client takes for "exists".
    Conflict409,
    /// Nothing is done: 412, which a client takes for "exists".
    Precondition412,
    /// Nothing is done: 429.
    TooMany429,
    /// Nothing is done: 503.
    Unavailable503,
    /// It is done, late.
    Slow,
    /// The second half of an object does not come, and nothing says so.
    Truncated,
    /// The newest objects are left out of this listing, and of all for a while.
    Lagging,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::KeptButFailed,
        Self::SentTwice,
        Self::Conflict409,
        Self::Precondition412,
        Self::TooMany429,
        Self::Unavailable503,
        Self::Slow,
        Self::Truncated,
        Self::Lagging,
    ];

    /// Whether it can happen to a call of this kind.
    #[must_use]
    pub const fn befalls(self, call: Call) -> bool {
        match self {
            Self::TimeoutBefore | Self::TooMany429 | Self::Unavailable503 | Self::Slow => true,
            Self::TimeoutAfter | Self::KeptButFailed => matches!(call, Call::Put | Call::Delete),
            Self::SentTwice | Self::Conflict409 | Self::Precondition412 => matches!(call, Call::Put),
            Self::Truncated => matches!(call, Call::Get),
            Self::Lagging => matches!(call, Call::List),
        }
    }
}

/// What kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Writes or copies an object.
    Put,
    /// Begins or ends an object that is written in parts, or writes a part.
    Part,
    /// Reads an object.
    Get,
    /// Lists objects.
    List,
    /// Deletes an object.
    Delete,
}

/// How often each fault happens, and how long things take.
#[derive(Clone, Debug)]
pub struct Faults {
    /// How often each fault happens, out of a thousand calls to which it can happen. The rates for one kind of call add
    /// up to a thousand at most.
    pub per_mille: BTreeMap<Fault, u32>,
    /// The longest that a call takes without a fault; drawn for each.
    pub latency: Duration,
    /// How long a slow call takes.
    pub slow: Duration,
    /// After how long a call without an answer fails, if it was not given up before.
    pub hang: Duration,
    /// In place of objects whose path contains this, an error page is returned as if it were the object.
    pub error_pages: Option<&'static str>,
    /// How many objects a lagging listing leaves out, and for how long.
    pub lag: (usize, Duration),
}

impl Faults {
    /// No faults, and no time passes.
    #[must_use]
    pub fn none() -> Self {
        Self {
            per_mille: BTreeMap::new(),
            latency: Duration::ZERO,
            slow: Duration::from_secs(1),
            hang: Duration::from_secs(60),
            error_pages: None,
            lag: (2, Duration::from_secs(1)),
        }
    }

    /// Every fault at the same rate.
    #[must_use]
    pub fn all(per_mille: u32) -> Self {
        Self { per_mille: Fault::ALL.into_iter().map(|fault| (fault, per_mille)).collect(), ..Self::none() }
    }
}

/// The wrapper. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: StdRng,
    faults: Faults,
    /// Which fault happens to which call, whatever the rates.
    planned: BTreeMap<u64, Fault>,
    calls: u64,
    hits: BTreeMap<Fault, u64>,
    /// Oldest first.
    newest: VecDeque<Path>,
    lags_until: Option<Instant>,
    #[cfg(feature = "planted-bugs")]
    exists_is_success: bool,
}

/// What happens to one call, and how long it takes.
struct Fate {
    latency: Duration,
    slow: Duration,
    hang: Duration,
}

impl Faulty {
    /// Over `inner`, with the faults that `seed` draws.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, faults: Faults) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            faults,
            planned: BTreeMap::new(),
            calls: 0,
            hits: BTreeMap::new(),
            newest: VecDeque::new(),
            lags_until: None,
            #[cfg(feature = "planted-bugs")]
            exists_is_success: false,
        };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// Sets other rates and times from the next call on.
    pub fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Makes `fault` happen to the `n`-th call from now, the next being 0, if it can happen to a call of that kind.
    pub fn plan(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.calls.saturating_add(n);
        state.planned.insert(at, fault);
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How often each fault has happened to a call.
    #[must_use]
    pub fn hits(&self) -> BTreeMap<Fault, u64> {
        self.state().hits.clone()
    }

    /// The planted bug: a create of what exists overwrites nothing, and is reported as done.
    #[cfg(feature = "planted-bugs")]
    pub fn report_exists_as_success(&self) {
        self.state().exists_is_success = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one call that changes something, or does not, depending on its fate.
    async fn change<T: Send + 'static>(
        &self,
        call: Call,
        path: &Path,
        work: impl Fn() -> BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        let exists = |code| Error::AlreadyExists { path: path.to_string(), source: status(code) };
        let (fault, fate) = self.begin(call).await?;
        match fault {
            Some(Fault::Conflict409) => return Err(exists("409 Conflict")),
            Some(Fault::Precondition412) => return Err(exists("412 Precondition Failed")),
            Some(Fault::Slow) => {
                // Under way: it is done even if the caller no longer waits.
                let (slow, work) = (fate.slow, work());
                let done = tokio::spawn(async move {
                    sleep(slow).await;
                    work.await
                });
                return done.await.unwrap_or_else(|_| Err(refused(Fault::Unavailable503)));
            }
            _ => {}
        }
        let result = work().await;
        match fault {
            Some(Fault::TimeoutAfter) => fate.no_answer().await,
            Some(Fault::KeptButFailed) => Err(refused(Fault::Unavailable503)),
            Some(Fault::SentTwice) => work().await,
            _ => result,
        }
    }

    /// The same for one that changes nothing. Returns the fault that concerns what is found.
    async fn ask(&self, call: Call) -> Result<Option<Fault>> {
        let (fault, fate) = self.begin(call).await?;
        if fault == Some(Fault::Slow) {
            sleep(fate.slow).await;
        }
        Ok(fault)
    }

    /// Draws a fate, and fails if the call must not be carried out.
    async fn begin(&self, call: Call) -> Result<(Option<Fault>, Fate)> {
        let (fault, fate) = self.state().draw(call);
        sleep(fate.latency).await;
        match fault {
            Some(Fault::TimeoutBefore) => fate.no_answer().await,
            Some(fault @ (Fault::TooMany429 | Fault::Unavailable503)) => Err(refused(fault)),
            other => Ok((other, fate)),
        }
    }

    fn listed(
        &self,
        list: impl FnOnce(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let asked = async move {
            this.ask(Call::List).await?;
            let hidden = this.state().hidden();
            let found = list(this.inner.as_ref());
            Ok::<_, Error>(
                found.try_filter(move |object| std::future::ready(!hidden.contains(&object.location))),
            )
        };
        asked.try_flatten_stream().boxed()
    }
}

impl State {
    fn draw(&mut self, call: Call) -> (Option<Fault>, Fate) {
        let at = self.calls;
        self.calls = at.saturating_add(1);
        // Drawn for every call, so that a plan or another rate does not shift the later ones.
        let (mut ticket, part) = (self.rng.random_range(0..1000_u32), self.rng.random_range(0..=1000_u32));
        let drawn =
            self.faults.per_mille.iter().filter(|(fault, _)| fault.befalls(call)).find(|(_, rate)| {
                let hit = ticket < **rate;
                ticket = ticket.saturating_sub(**rate);
                hit
            });
        let planned = self.planned.remove(&at).filter(|fault| fault.befalls(call));
        let fault = planned.or(drawn.map(|(fault, _)| *fault));
        if let Some(fault) = fault {
            let hits = self.hits.entry(fault).or_default();
            *hits = hits.saturating_add(1);
        }
        if fault == Some(Fault::Lagging) {
            self.lags_until = Some(Instant::now() + self.faults.lag.1);
        }
        let latency = self.faults.latency.saturating_mul(part) / 1000;
        (fault, Fate { latency, slow: self.faults.slow, hang: self.faults.hang })
    }

    fn created(&mut self, path: &Path) {
        self.newest.retain(|known| known != path);
        self.newest.push_back(path.clone());
        if self.newest.len() > REMEMBERED {
            self.newest.pop_front();
        }
    }

    /// What a listing leaves out now.
    fn hidden(&self) -> Vec<Path> {
        let lags = self.lags_until.is_some_and(|until| Instant::now() < until);
        let count = if lags { self.faults.lag.0 } else { 0 };
        self.newest.iter().rev().take(count).cloned().collect()
    }
}

impl Fate {
    async fn no_answer<T>(&self) -> Result<T> {
        sleep(self.hang).await;
        Err(Error::Generic { store: STORE, source: "operation timed out".into() })
    }
}

fn status(code: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("server returned non-2xx status code: {code}").into()
}

fn refused(fault: Fault) -> Error {
    let code = if fault == Fault::TooMany429 { "429 Too Many Requests" } else { "503 Service Unavailable" };
    Error::Generic { store: STORE, source: status(code) }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = || {
            let (this, location, payload) = (self.clone(), location.clone(), payload.clone());
            let options = options.clone();
            async move {
                let put = this.inner.put_opts(&location, payload, options).await;
                put.inspect(|_| this.state().created(&location))
            }
            .boxed()
        };
        let result = self.change(Call::Put, location, put).await;
        #[cfg(feature = "planted-bugs")]
        if matches!(result, Err(Error::AlreadyExists { .. })) && self.state().exists_is_success {
            return Ok(PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.ask(Call::Part).await?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload { inner, faulty: self.clone(), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.ask(Call::Get).await?;
        let only_asks = options.head;
        let found = self.inner.get_opts(location, options).await?;
        let garbled = self.state().faults.error_pages.is_some_and(|part| location.as_ref().contains(part));
        if garbled && !only_asks {
            return Ok(error_page(found));
        }
        if fault != Some(Fault::Truncated) {
            return Ok(found);
        }
        let (meta, range) = (found.meta.clone(), found.range.clone());
        let (attributes, extensions) = (found.attributes.clone(), found.extensions.clone());
        let bytes = found.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let payload = GetResultPayload::Stream(stream::once(async { Ok(half) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Path| {
            let this = this.clone();
            async move {
                let delete = || {
                    let (inner, location) = (Arc::clone(&this.inner), location.clone());
                    async move { inner.delete(&location).await }.boxed()
                };
                this.change(Call::Delete, &location, delete).await?;
                Ok(location)
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.listed(move |inner| inner.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.listed(move |inner| inner.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask(Call::List).await?;
        let hidden = self.state().hidden();
        let mut found = self.inner.list_with_delimiter(prefix).await?;
        found.objects.retain(|object| !hidden.contains(&object.location));
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = || {
            let (inner, from, to) = (Arc::clone(&self.inner), from.clone(), to.clone());
            let options = options.clone();
            async move { inner.copy_opts(&from, &to, options).await }.boxed()
        };
        self.change(Call::Put, to, copy).await
    }
}

/// A page that a proxy returns with a status of success.
fn error_page(found: GetResult) -> GetResult {
    let page = PutPayload::from_static(b"<html><body>Service Unavailable</body></html>");
    let size = page.content_length() as u64;
    let meta = ObjectMeta { size, ..found.meta };
    let payload = GetResultPayload::Stream(stream::once(async { Ok(page.into()) }).boxed());
    GetResult { payload, meta, range: 0..size, ..found }
}

struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    faulty: Faulty,
    location: Path,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyUpload({})", self.location)
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (faulty, part) = (self.faulty.clone(), self.inner.put_part(data));
        async move {
            faulty.ask(Call::Part).await?;
            part.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faulty.ask(Call::Part).await?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
