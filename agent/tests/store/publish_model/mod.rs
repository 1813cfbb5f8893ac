//! A store and HSMs that fail when a test says so, agents that publish through them, and who looks at what the public sees.
//!
//! One world is one run: everything in it follows from its seed and its plan.

pub(crate) mod chain;

use async_trait::async_trait;
use chain::{Chain, GROUP, REALM, checkpoint_key, extend_head, sign_head};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::publish::{Bug, Led, Publication, PublishMetrics, Signs, folder};
use strongroom_agent::store::Store;
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::Index;
use strongroom_proto::statement::{Committed, Head};
use strongroom_replica::ask::Unanswered;
use strongroom_tlog::tile::grown;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// What becomes of one call to the store or to an HSM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It is not carried out, and that is said.
    Fails,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is carried out, or not, and nothing ever comes.
    Hangs { done: bool },
    /// It is carried out, or not, and whoever called is no more.
    Crash { done: bool },
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::Fails,
        Self::AnswerLost,
        Self::Hangs { done: false },
        Self::Hangs { done: true },
        Self::Crash { done: false },
        Self::Crash { done: true },
    ];

    const fn is_carried_out(self) -> bool {
        matches!(self, Self::AnswerLost | Self::Hangs { done: true } | Self::Crash { done: true })
    }
}

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    Never,
    /// This one, counted from 0.
    Nth(u64, Fault),
    /// One in so many, up to this one, and sometimes the next ones too: then the store or the HSM is away for a while.
    Often {
        one_in: u32,
        until: u64,
    },
}

pub(crate) struct World {
    chain: Arc<Chain>,
    plan: Plan,
    /// How much the log grows at once, at most.
    growth: u64,
    objects: InMemory,
    state: Mutex<State>,
    crashes: Vec<Notify>,
}

struct State {
    random: StdRng,
    calls: u64,
    /// Up to this call, everything fails.
    away: u64,
    committed: u64,
    /// Up to where segments may be deleted.
    unneeded: u64,
    public: Public,
    wrong: Option<String>,
}

/// What the public sees.
#[derive(Default)]
struct Public {
    objects: BTreeMap<Path, bytes::Bytes>,
    /// The newest checkpoint, and its size.
    newest: Option<(bytes::Bytes, u64)>,
}

impl Public {
    /// That everything up to the newest checkpoint is there, and that it has never gone back.
    fn check(&mut self, chain: &Chain) -> std::result::Result<(), String> {
        let name = |path: &str| Path::from(format!("{}/{path}", folder(&GROUP)));
        let before = self.newest.as_ref().map(|(_, size)| *size);
        let Some(bytes) = self.objects.get(&name("checkpoint")) else {
            return before.map_or(Ok(()), |size| Err(format!("the checkpoint of {size} entries is gone")));
        };
        if self.newest.as_ref().is_none_or(|(newest, _)| newest != bytes) {
            let size = chain.checked(bytes)?.size();
            if before.is_some_and(|before| before > size) {
                return Err(format!("a checkpoint of {size} entries is after one of {before:?}"));
            }
            self.newest = Some((bytes.clone(), size));
        }
        let size = self.newest.as_ref().map_or(0, |(_, size)| *size);
        for tile in grown(0, size) {
            let wanted = chain.tile(tile);
            self.find(&name(&tile.to_string()), &name(&tile.full().to_string()), &wanted)?;
            if let (Some(partial), Some(full)) = (tile.entries_path(), tile.full().entries_path()) {
                self.find(&name(&partial), &name(&full), &chain.bundle(tile))?;
            }
        }
        Ok(())
    }

    /// That a partial object, or the full one in its place, begins with what belongs there.
    fn find(&self, partial: &Path, full: &Path, wanted: &[u8]) -> std::result::Result<(), String> {
        let found = self.objects.get(partial).or_else(|| self.objects.get(full));
        match found {
            None => Err(format!("there is no {partial} under the checkpoint")),
            Some(bytes) if !bytes.starts_with(wanted) => Err(format!("{partial} is not what belongs there")),
            Some(_) => Ok(()),
        }
    }
}

impl World {
    /// A log that is in the store, of which nothing is committed yet.
    pub(crate) async fn new(
        chain: &Arc<Chain>,
        seed: u64,
        plan: Plan,
        growth: u64,
        agents: usize,
    ) -> Arc<Self> {
        let objects = InMemory::new();
        for segment in &chain.segments {
            objects.put(&segment.name.as_str().into(), segment.bytes.clone().into()).await.expect("put");
        }
        let state = State {
            random: StdRng::seed_from_u64(seed),
            calls: 0,
            away: 0,
            committed: 0,
            unneeded: 0,
            public: Public::default(),
            wrong: None,
        };
        let crashes = (0..agents).map(|_| Notify::new()).collect();
        let (chain, state) = (Arc::clone(chain), Mutex::new(state));
        Arc::new(Self { chain, plan, growth, objects, state, crashes })
    }

    /// Has all agents publish until everything is published, or something is wrong. Returns how many calls that took.
    pub(crate) async fn run(self: &Arc<Self>, bug: Option<Bug>) -> std::result::Result<u64, String> {
        futures::future::join_all((0..self.crashes.len()).map(|who| self.agent(who, bug))).await;
        let mut state = self.state.lock();
        if let Some(wrong) = state.wrong.take() {
            return Err(wrong);
        }
        state.public.check(&self.chain)?;
        match &state.public.newest {
            Some((_, size)) if *size == self.chain.len() => Ok(state.calls),
            newest => Err(format!("in the end the checkpoint is {newest:?}")),
        }
    }

    /// What the agent at this place knows when it begins.
    pub(crate) fn publication(self: &Arc<Self>, who: usize) -> Publication<Hsm> {
        let hsm = Hsm { world: Arc::clone(self), who };
        let objects: Arc<dyn ObjectStore> = Arc::new(Objects { world: Arc::clone(self), who });
        let (key, store) = (checkpoint_key().public(), Store::on(objects));
        Publication::new(REALM, GROUP, &key, &store, hsm, &[]).expect("a key for signatures")
    }

    /// One agent after another, at this place.
    async fn agent(self: &Arc<Self>, who: usize, bug: Option<Bug>) {
        loop {
            let mut publication = self.publication(who);
            if let Some(bug) = bug {
                publication.plant(bug);
            }
            tokio::select! {
                biased;
                () = self.crashes[who].notified() => {}
                () = self.publish(&mut publication) => return,
            }
        }
    }

    async fn publish(&self, publication: &mut Publication<Hsm>) {
        let mut led = Leads { world: self, known: self.state.lock().committed };
        let metrics = PublishMetrics::default();
        for _ in 0..300 {
            led.known = self.grow(led.known);
            if let Err(failure) = publication.round(&led, &metrics).await
                && publication.gives_up(&failure)
            {
                return self.wrong(format!("an agent gave up: {failure}"));
            }
            let all = Index(self.chain.len());
            if publication.published() == Some(all) || self.state.lock().wrong.is_some() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.wrong("an agent has not come to the end".into());
    }

    /// The log goes on, and an agent may hear of it.
    fn grow(&self, known: u64) -> u64 {
        let mut state = self.state.lock();
        let more = state.random.random_range(1..=self.growth);
        state.committed = (state.committed + more).min(self.chain.len());
        if state.random.random_ratio(3, 4) { state.committed } else { known.max(1) }
    }

    fn wrong(&self, why: String) {
        self.state.lock().wrong.get_or_insert(why);
    }

    /// Passes a call on, or not.
    async fn call<T>(&self, who: usize, does: impl Future<Output = T> + Send) -> Option<T> {
        let others = self.state.lock().random.random_range(0..3);
        for _ in 0..others {
            yield_now().await;
        }
        self.collect().await;
        let fault = self.fault();
        let done = if fault.is_none_or(Fault::is_carried_out) { Some(does.await) } else { None };
        match fault {
            None => return done,
            Some(Fault::Fails | Fault::AnswerLost) => return None,
            Some(Fault::Hangs { .. }) => {}
            Some(Fault::Crash { .. }) => self.crashes[who].notify_one(),
        }
        std::future::pending().await
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.state.lock();
        let at = state.calls;
        state.calls += 1;
        match self.plan {
            Plan::Nth(nth, fault) if nth == at => Some(fault),
            Plan::Often { .. } if at < state.away => Some(Fault::Fails),
            Plan::Often { one_in, until } if at < until && state.random.random_ratio(1, one_in) => {
                if state.random.random_ratio(1, 4) {
                    state.away = at + state.random.random_range(4..30);
                }
                Some(Fault::ALL[state.random.random_range(0..Fault::ALL.len())])
            }
            Plan::Never | Plan::Nth(..) | Plan::Often { .. } => None,
        }
    }

    /// Deletes a segment that nobody need publish any more, now and then.
    async fn collect(&self) {
        let name = {
            let mut state = self.state.lock();
            if !state.random.random_ratio(1, 4) {
                return;
            }
            let unneeded = self.chain.segments.iter().filter(|segment| segment.last <= state.unneeded);
            let unneeded: Vec<Path> = unneeded.map(|segment| segment.name.as_str().into()).collect();
            match unneeded.len() {
                0 => return,
                count => unneeded[state.random.random_range(0..count)].clone(),
            }
        };
        let _ = self.objects.delete(&name).await;
    }

    /// Looks at what the public sees now.
    fn changed(&self, name: &Path, bytes: Option<bytes::Bytes>) {
        let mut state = self.state.lock();
        match bytes {
            Some(bytes) => state.public.objects.insert(name.clone(), bytes),
            None => state.public.objects.remove(name),
        };
        if let Err(wrong) = state.public.check(&self.chain) {
            state.wrong.get_or_insert(wrong);
        }
    }
}

/// An agent that leads, or believes so.
struct Leads<'a> {
    world: &'a World,
    known: u64,
}

impl Led for Leads<'_> {
    fn committed(&self) -> Index {
        Index(self.known)
    }

    fn leads(&self) -> bool {
        !self.world.state.lock().random.random_ratio(1, 50)
    }

    async fn shown(&self) -> Option<Evidence> {
        yield_now().await;
        let mut state = self.world.state.lock();
        // Committed meanwhile.
        let newest = state.committed;
        let shown = state.random.random_range(self.known..=newest.max(self.known));
        Some(self.world.chain.evidence(shown))
    }

    fn now(&self) -> u64 {
        0
    }

    fn reached(&self, reached: Index) {
        let mut state = self.world.state.lock();
        state.unneeded = state.unneeded.max(reached.0);
    }
}

pub(crate) struct Hsm {
    world: Arc<World>,
    who: usize,
}

impl Hsm {
    async fn ask<T: Send>(
        &self,
        answer: std::result::Result<T, Refusal>,
    ) -> std::result::Result<T, Unanswered> {
        // Whoever asks an HSM waits for no longer than that.
        let answered = timeout(Duration::from_secs(10), self.world.call(self.who, async { answer })).await;
        answered.ok().flatten().ok_or(Unanswered::Lost)?.map_err(Unanswered::Refused)
    }
}

impl Signs for Hsm {
    async fn extend_head(
        &self,
        from: Option<Head>,
        entries: Vec<Entry>,
    ) -> std::result::Result<Head, Unanswered> {
        self.ask(extend_head(from, &entries)).await
    }

    async fn sign_head(&self, head: Head, committed: Committed) -> std::result::Result<[u8; 64], Unanswered> {
        self.ask(sign_head(&head, &committed)).await
    }
}

/// The store, as one agent reaches it.
struct Objects {
    world: Arc<World>,
    who: usize,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    async fn call<T>(&self, does: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let failed = || Error::Generic { store: "model", source: "no answer".into() };
        self.world.call(self.who, does).await.ok_or_else(failed)?
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.clone().into();
        let put = async {
            let put = self.world.objects.put_opts(name, payload, options).await;
            put.inspect(|_| self.world.changed(name, Some(bytes)))
        };
        self.call(put).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("nothing is published in parts")
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.world.objects.get_opts(name, options)).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let objects = Self { world: Arc::clone(&self.world), who: self.who };
        let objects = Arc::new(objects);
        let delete = move |name: Path| {
            let objects = Arc::clone(&objects);
            async move {
                let delete = async {
                    let deleted = objects.world.objects.delete(&name).await;
                    deleted.inspect(|()| objects.world.changed(&name, None))
                };
                objects.call(delete).await?;
                Ok(name)
            }
        };
        names.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (objects, prefix) = (Self { world: Arc::clone(&self.world), who: self.who }, prefix.cloned());
        let found = async move {
            let found = objects.world.objects.list(prefix.as_ref()).collect::<Vec<_>>();
            let found = objects.call(async { Ok(found.await) }).await;
            stream::iter(found.unwrap_or_else(|error| vec![Err(error)]))
        };
        stream::once(found).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.world.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing that is published is copied")
    }
}
