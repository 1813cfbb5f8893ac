//! One request is one trace across the agents that it passes, names nobody, and waits for no collector.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;
use strongroom_agent::config::{Config, HsmAddress, TraceSettings};
use strongroom_agent::link::{Link, SocketLink};
use strongroom_agent::store::Store;
use strongroom_client::{
    HttpResponse, Https, NetworkError, Pin, Transport, Url, UserSecret, Zeroizing, async_trait,
};
use strongroom_proto::hsm::{Reply, Request, record_id};
use strongroom_proto::ids::RecordId;
use strongroom_sim::ceremony::patiently;
use strongroom_sim::local::{LocalRealm, MEMBERS, Setting, TENANT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const USER: &str = "user-with-a-name-of-its-own";
/// So long that no address and no id has it in it by chance.
const PIN: &str = "4821, and more of it";
const SECRET: &[u8] = b"what nobody else may see";
/// Longer than clients and agents of a patient realm wait for anything.
const HOUR: Duration = Duration::from_secs(3600);

/// Everything that was logged by this process.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let to = lines.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(to)
            .init();
        lines
    })
}

/// A collector: the bodies that it was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Collector {
    async fn start() -> (Self, Url) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = endpoint(listener.local_addr().expect("bound"));
        let collector = Self::default();
        let to = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(to.clone().serve(stream));
            }
        });
        (collector, url)
    }

    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let head = end.map(|end| String::from_utf8_lossy(&bytes[..end]).to_lowercase());
            let length = head.and_then(|head| {
                let line =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))?;
                line.parse::<usize>().ok()
            });
            match end.zip(length) {
                Some((end, length)) if bytes.len() >= end + 4 + length => {
                    let rest = bytes.split_off(end + 4 + length);
                    self.0.lock().expect("no panic").push(bytes.split_off(end + 4));
                    bytes = rest;
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
                }
                _ => {
                    let mut more = [0; 4096];
                    let read = stream.read(&mut more).await.ok().filter(|read| *read > 0)?;
                    bytes.extend_from_slice(&more[..read]);
                }
            }
        }
    }

    /// The spans so far, each with the agent that it is from.
    fn spans(&self) -> Vec<(String, Span)> {
        let bodies = self.0.lock().expect("no panic").clone();
        let mut all = Vec::new();
        for body in bodies {
            let sent = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
            for of in sent.resource_spans {
                let attributes = of.resource.expect("a resource").attributes;
                let name =
                    attributes.into_iter().find(|said| said.key == "service.instance.id").expect("a name");
                let Some(Value::StringValue(name)) = name.value.and_then(|value| value.value) else {
                    panic!("text")
                };
                let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                all.extend(spans.map(|span| (name.clone(), span)));
            }
        }
        all
    }
}

fn endpoint(address: SocketAddr) -> Url {
    format!("http://{address}/v1/traces").parse().expect("a URL")
}

fn settings(endpoint: Url, sample_ratio: f64) -> TraceSettings {
    TraceSettings { endpoint, sample_ratio, timeout: HOUR, take_trace_ids: true }
}

/// A realm, and the address of one of its HSMs.
async fn realm(folder: &Path, traces: Option<TraceSettings>) -> (LocalRealm, HsmAddress) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (tell, told) = mpsc::channel();
    let open = move |config: &Config| {
        // Only the first is waited for.
        let _ = tell.send(config.hsm.clone());
        Store::open(&config.store, &config.store_options)
    };
    let setting = Setting { traces, open: Box::new(open), ..Setting::patient() };
    let local = LocalRealm::start_with(folder, any, setting).expect("starts");
    local.make_whole().await.expect("three new HSMs");
    (local, told.recv().expect("an agent opened its store"))
}

/// The user's record, as hosts know it.
async fn record(hsm: HsmAddress) -> RecordId {
    let asked = minicbor::to_vec(Request::DeviceStatus).expect("encodes");
    let reply = SocketLink::with_timeout(hsm, HOUR).call(asked).await.expect("it answers");
    let Ok(Reply::Device(device)) = minicbor::decode(&reply) else { panic!("not what it is") };
    record_id(&device.realm.expect("it has one").record_id_key, TENANT, USER)
}

/// What can be seen of any token of the user's, whenever it was made: where its claims begin.
async fn token_part(local: &LocalRealm) -> String {
    let realm = local.realm_id().await.expect("it answers").expect("it has one");
    let token = local.token(&realm, USER).expect("a name that fits");
    let claims = token.split('.').nth(1).expect("three parts");
    claims.chars().take(40).collect()
}

/// The network, with the header of a trace in each request, and these flags. What an application that wants this writes.
struct Traced(Https, &'static str);

#[async_trait]
impl Transport for Traced {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let trace = format!("00-{TRACE}-00f067aa0ba902b7-{}", self.1);
        self.0.post(url, &[headers, &[("traceparent", &trace)]].concat(), body).await
    }
}

async fn register(local: &LocalRealm, at: usize, flags: &'static str) {
    let configuration =
        local.configuration(at).await.expect("a realm").replace("Standard2019", "FastInsecure");
    let client = local.builder(&configuration, USER).expect("usable");
    let client = client.build_with(Traced(Https::new().expect("TLS"), flags));
    let (secret, guesses) = (UserSecret::new(SECRET).expect("short"), NonZeroU8::new(5).expect("not 0"));
    client.register(&Pin::from(PIN), &secret, b"", guesses).await.expect("the realm serves");
}

fn hang_together(spans: &[(String, Span)]) {
    // Each hangs below another, up to the client's own; and what the leader does below what the follower asked.
    let mut crossed = 0;
    let find = |id: &[u8]| spans.iter().find(|(_, span)| span.span_id == id);
    for (agent, span) in spans.iter().filter(|(_, span)| span.name == "serve") {
        let (asker, parent) = find(&span.parent_span_id).expect("its parent");
        // Whoever is asked looks first whether it leads.
        if asker == agent {
            assert_eq!(parent.name, "request", "{parent:?}");
            continue;
        }
        assert_eq!(parent.name, "forward", "{parent:?}");
        crossed += 1;
        let (_, root) = find(&parent.parent_span_id).expect("its parent");
        let root = (root.name.as_str(), hex::encode(&root.parent_span_id));
        assert_eq!(root, ("request", "00f067aa0ba902b7".into()));
    }
    assert_ne!(crossed, 0, "nothing was forwarded");
    for (agent, span) in spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        let inner = !matches!(span.name.as_str(), "request" | "forward" | "serve");
        if inner {
            let (of, parent) = find(&span.parent_span_id).expect("its parent");
            assert!(of == agent && parent.name == "serve", "{span:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_at_a_follower_is_one_trace_across_two_agents_and_names_nobody() {
    let lines = lines();
    let folder = tempfile::tempdir().expect("a folder");
    let (collector, url) = Collector::start().await;
    let (local, hsm) = realm(folder.path(), Some(settings(url, 1.0))).await;
    let leader = local.leader(None).await.expect("one leads");
    register(&local, (leader + 1) % MEMBERS, "00").await;
    let wanted =
        ["request", "forward", "serve", "queue", "hsm.process", "store.put", "members.confirm", "hsm.commit"];
    let of_trace = || {
        let spans = collector.spans().into_iter();
        spans.filter(|(_, span)| hex::encode(&span.trace_id) == TRACE).collect::<Vec<_>>()
    };
    let has_all = async || {
        let names: BTreeSet<String> = of_trace().into_iter().map(|(_, span)| span.name).collect();
        Ok(wanted.iter().all(|name| names.contains(*name)).then_some(()))
    };
    if let Err(error) = patiently("the trace is not whole", has_all).await {
        let all: Vec<_> = of_trace().into_iter().map(|(agent, span)| (agent, span.name)).collect();
        panic!("{error}; so far {all:?}");
    }
    let spans = of_trace();
    hang_together(&spans);
    let (RecordId(record), token) = (record(hsm).await, token_part(&local).await);
    let (group, _) = local.groups(leader)[0];
    local.shutdown().await;

    let exported = collector.0.lock().expect("no panic").concat();
    let logged = lines.0.lock().expect("no panic").clone();
    let within = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(within(&exported, group.to_string().as_bytes()), "what is exported can be searched");
    let hex = hex::encode(record);
    for (what, secret) in [
        ("user", USER.as_bytes()),
        ("PIN", PIN.as_bytes()),
        ("secret", SECRET),
        ("tenant", TENANT.as_bytes()),
        ("token", token.as_bytes()),
        ("record", &record[..]),
        ("record in hex", hex.as_bytes()),
    ] {
        assert!(!within(&exported, secret), "the {what} is exported");
    }
    for (what, secret) in
        [("user", USER.as_bytes()), ("PIN", PIN.as_bytes()), ("secret", SECRET), ("token", token.as_bytes())]
    {
        assert!(!within(&logged, secret), "the {what} is logged");
    }
    let logged = String::from_utf8(logged).expect("text");
    for said in
        ["a request goes to the leader", "a request came from another agent", "requests go to the HSM"]
    {
        assert!(logged.lines().any(|line| line.contains(said) && line.contains(TRACE)), "no line: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_up_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = endpoint(deaf.local_addr().expect("bound"));
    let (local, _) = realm(folder.path(), Some(settings(url, 1.0))).await;
    register(&local, 0, "01").await;
    let _held = timeout(HOUR, deaf.accept()).await.expect("spans are sent").expect("a connection");
    // From now on one agent waits for the collector, for longer than its clients would.
    for at in 0..MEMBERS {
        register(&local, at, "01").await;
    }
    local.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_the_request_where_there_are_traces_and_only_what_is_sampled_is_exported() {
    for (ratio, told, exported) in [(None, false, false), (Some(0.0), true, false), (Some(1.0), true, true)] {
        let (collector, url) = Collector::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let (local, _) = realm(folder.path(), ratio.map(|ratio| settings(url, ratio))).await;
        let configuration = local.configuration(0).await.expect("a realm");
        let configuration: strongroom_client::Configuration = configuration.parse().expect("usable");
        let url = configuration.realms()[0].address().join("req").expect("a path");
        strongroom_agent::tls::install_provider();
        let request = reqwest::Client::new().post(url.as_str()).header("x-juicebox-version", "0.3.4");
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let answer =
            request.header("traceparent", traceparent).body(vec![0xff]).send().await.expect("an answer");
        let id = answer.headers().get("x-request-id").map(|id| id.to_str().expect("text").to_owned());
        assert_eq!(id.as_deref(), told.then_some(TRACE));
        let mut names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
        names.retain(|name| *name != "x-request-id");
        names.sort_unstable();
        assert_eq!(names, ["access-control-allow-origin", "content-length", "content-type", "date"]);
        // The client asks that it be sampled, which is not for it to say.
        register(&local, 0, "01").await;
        if exported {
            let some = async || Ok((!collector.spans().is_empty()).then_some(()));
            patiently("nothing is exported", some).await.expect("spans come");
        }
        local.shutdown().await;
        assert_eq!(collector.spans().is_empty(), !exported, "{ratio:?}");
    }
}
