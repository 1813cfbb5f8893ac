//! A store that lets two writers create one object now and then: an agent that finds out refuses to serve, says so
//! wherever an operator looks, and tells the other agents.

use crate::bare::{Bare, peer_url, until};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strongroom_agent::admin::Client;
use strongroom_agent::daemon::{Agent, Sockets};
use strongroom_agent::link::Link;
use strongroom_agent::store::{CLEAN_PROBES, Store, Trust};
use strongroom_proto::ids::HsmId;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// This many creates, among them those of a probe, see the object only after they have written their own.
#[derive(Debug)]
struct Racy {
    inner: InMemory,
    lets_two_win: AtomicU64,
}

impl Racy {
    fn letting_two_win(puts: u64) -> Arc<Self> {
        Arc::new(Self { inner: InMemory::new(), lets_two_win: AtomicU64::new(puts) })
    }
}

impl fmt::Display for Racy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Racy")
    }
}

#[async_trait]
impl ObjectStore for Racy {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let racy =
            self.lets_two_win.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if racy.is_ok() && self.inner.head(path).await.is_err() {
            tokio::task::yield_now().await;
            return self.inner.put_opts(path, payload, PutOptions::default()).await;
        }
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_let_two_win_once_is_trusted_after_a_quarter_of_an_hour_of_clean_probes() {
    // In the first race of the first probe, and once again later.
    let racy = Racy::letting_two_win(10);
    let (trust, store) = (Trust::default(), Store::on(Arc::clone(&racy) as Arc<dyn ObjectStore>));
    let began = Instant::now();
    let earned = {
        let (trust, store) = (trust.clone(), store.clone());
        tokio::spawn(async move { trust.earn(&store).await.map(|()| Instant::now()) })
    };
    tokio::time::sleep(Duration::from_secs(5 * 60 + 30)).await;
    assert!(
        !trust.is_given() && trust.why_not().is_some_and(|why| why.contains("(5 so far)")),
        "{:?}",
        trust.why_not()
    );
    racy.lets_two_win.store(10, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(trust.why_not().is_some_and(|why| why.contains("(0 so far)")), "{:?}", trust.why_not());
    let earned = earned.await.expect("does not panic").expect("randomness");
    assert!(trust.is_given());
    let clean = Duration::from_secs(60) * CLEAN_PROBES;
    assert!(earned - began >= clean + Duration::from_secs(6 * 60), "{:?}", earned - began);
    assert!(earned - began < clean + Duration::from_secs(7 * 60), "{:?}", earned - began);
}

async fn get(address: SocketAddr, path: &str) -> crate::support::Answer {
    let stream = TcpStream::connect(address).await.expect("it listens");
    crate::support::exchange(stream, &crate::support::http("GET", path, "", &[])).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_refuses_its_store_says_why_in_status_readiness_and_metrics_and_to_its_peers() {
    let folder = tempfile::tempdir().unwrap();
    let config = |at: usize| {
        let mut config = crate::bare::config(folder.path(), &format!("agent-{at}"));
        config.metrics_listen = Some(([127, 0, 0, 1], 0).into());
        config
    };
    let sockets: Vec<_> = (0..2).map(|at| Sockets::bind(&config(at)).unwrap()).collect();
    let addresses: Vec<_> = sockets.iter().map(Sockets::addresses).collect();
    // Each agent has its own store: what the other one learns does not come from its own probe.
    let stores = [Racy::letting_two_win(u64::MAX), Racy::letting_two_win(0)];
    let agents: Vec<_> = sockets
        .into_iter()
        .zip(stores)
        .enumerate()
        .map(|(at, (sockets, racy))| {
            let mut config = config(at);
            config.peers = vec![peer_url(addresses[1 - at].peer)];
            let hsm = Bare::new(u8::try_from(at + 1).unwrap()) as Arc<dyn Link>;
            Agent::start_on(sockets, config, hsm, Store::on(racy)).unwrap()
        })
        .collect();

    let report = until("the agent refuses its store", async || {
        let mut client = Client::connect(agents[0].admin_socket()).await.ok()?;
        let report = client.status().await.ok()?;
        report.unready.is_some_and(|why| why.contains("conditional writes")).then_some(())
    });
    report.await;
    let ready = get(addresses[0].front, "/readyz").await;
    assert_eq!(ready.status, 503);
    let said = String::from_utf8_lossy(&ready.body);
    assert!(
        said.contains("group status") && said.contains("store: failed\n"),
        "it says which check, not why: {said}"
    );
    let metrics = addresses[0].metrics.expect("configured");
    let ready = get(metrics, "/readyz").await;
    let said = String::from_utf8_lossy(&ready.body);
    assert!(ready.status == 503 && said.contains("hsm: ok\n") && said.contains("store: failed: "), "{said}");
    assert_eq!(get(metrics, "/livez").await.status, 200);
    assert_eq!(get(addresses[0].front, "/livez").await.status, 200, "it runs");
    let page = async |at: usize| {
        let metrics = addresses[at].metrics.expect("configured");
        String::from_utf8(get(metrics, "/metrics").await.body).expect("text")
    };
    let refusing = page(0).await;
    assert!(refusing.contains("strongroom_store_trusted 0"), "{refusing}");
    assert!(refusing.contains("strongroom_store_broken_probes_total 1"), "{refusing}");

    until("the peer knows of it", async || {
        page(1).await.contains("strongroom_peers_refusing_store 1").then_some(())
    })
    .await;
    assert!(page(1).await.contains("strongroom_store_trusted 1"), "it goes on");
    let mut client = Client::connect(agents[1].admin_socket()).await.unwrap();
    let peers = client.peers().await.unwrap();
    let told = peers.iter().filter_map(|peer| peer.agent.as_ref()?.unready.as_deref());
    assert!(told.into_iter().any(|why| why.contains("conditional writes")), "{peers:#?}");
    assert_eq!(agents[1].device().map(|device| device.hsm), Some(HsmId([2; 16])));
}
