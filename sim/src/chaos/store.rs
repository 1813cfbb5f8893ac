//! The object store of a run: a folder, or an S3 server of its own.
//!
//! The server is moto, which keeps objects in memory. By itself it now and then lets two creates of one object win,
//! which no realm survives; here a lock admits one request at a time. `.ci/stores` installs it.

use super::daemon::Daemon;
use super::link::{Link, Mode};
use crate::Error;
use crate::ceremony::within;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// A folder on this machine.
    Folder,
    /// An S3 server on this machine.
    S3,
    /// One that the caller has.
    #[value(skip)]
    Given,
}

const SERVER: &str = r#"
import io, sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

def locked(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
    with lock:
        return [b"".join(app(environ, start_response))]

run_simple(sys.argv[1], int(sys.argv[2]), locked, threaded=True)
"#;

const PORT: u16 = 8690;
const BUCKET: &str = "bucket";

/// The store, with a link to it for each host.
pub struct Store {
    kind: Kind,
    folder: PathBuf,
    pub(super) server: Option<Daemon>,
    links: Vec<Link>,
    addresses: Vec<SocketAddr>,
    given: (String, String),
}

impl Store {
    /// Makes the store, or starts its server, for this many hosts.
    pub(super) async fn start(kind: Kind, dir: &Path, ip: Ipv4Addr, hosts: usize) -> Result<Self, Error> {
        let folder = dir.join("store");
        let mut store = Self::new(kind, folder);
        if kind == Kind::Folder {
            std::fs::create_dir_all(&store.folder)?;
            return Ok(store);
        }
        let to = SocketAddr::from((ip, PORT));
        store.server = Some(start_server(dir, to).await?);
        for _ in 0..hosts {
            let (link, address) = Link::tcp(ip, to).await?;
            store.links.push(link);
            store.addresses.push(address);
        }
        Ok(store)
    }

    /// A store that is there already, with its server, if that is to end with it. `lines` of a host's `agent.toml` name
    /// it: those at the top, and tables.
    pub(crate) fn given(lines: (String, String), server: Option<Daemon>) -> Self {
        Self { given: lines, server, ..Self::new(Kind::Given, PathBuf::new()) }
    }

    fn new(kind: Kind, folder: PathBuf) -> Self {
        let (links, addresses, given) = Default::default();
        Self { kind, folder, server: None, links, addresses, given }
    }

    /// The lines of a host's `agent.toml` that name the store: first what belongs to the top, then the tables.
    pub(super) fn config(&self, host: usize) -> (String, String) {
        match self.kind {
            Kind::Given => self.given.clone(),
            Kind::Folder => (format!("store = 'file://{}'\n", self.folder.display()), String::new()),
            Kind::S3 => {
                let top = format!("store = 's3://{BUCKET}/realm'\n");
                let options = format!(
                    "[store_options]\nendpoint = 'http://{}'\nregion = 'us-east-1'\naccess_key_id = 'chaos'\n\
                     secret_access_key = 'chaos'\nallow_http = 'true'\n",
                    self.addresses[host]
                );
                (top, options)
            }
        }
    }

    /// Which it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What a host's link to the server does from now on. A folder has no links.
    pub fn link(&self, host: usize, mode: Mode) {
        if let Some(link) = self.links.get(host) {
            link.set(mode);
        }
    }

    /// Takes the folder away, as if a disk were unmounted; with `decoy`, an empty one is there instead.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn take_away(&self, decoy: bool) -> Result<(), Error> {
        std::fs::rename(&self.folder, self.folder.with_extension("away"))?;
        if decoy {
            std::fs::create_dir(&self.folder)?;
        }
        Ok(())
    }

    /// Puts it back. What was in its place is kept next to it: a write that was under way may have got there, which is
    /// not a fault unless it was reported as done. The history shows that then.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn put_back(&self) -> Result<(), Error> {
        let away = self.folder.with_extension("away");
        if !away.exists() {
            return Ok(());
        }
        // It can be removed if nothing was written to it.
        if self.folder.exists() && std::fs::remove_dir(&self.folder).is_err() {
            let free =
                (1..).map(|n| self.folder.with_extension(format!("decoy-{n}"))).find(|name| !name.exists());
            std::fs::rename(&self.folder, free.ok_or("there are always more names")?)?;
        }
        Ok(std::fs::rename(away, &self.folder)?)
    }
}

async fn start_server(dir: &Path, at: SocketAddr) -> Result<Daemon, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no folder")?;
    let python = root.join("target/stores/python/bin/python");
    if !python.is_file() {
        let wanted = python.display();
        return Err(format!("the S3 server is not installed at {wanted}; run `bash .ci/stores` once").into());
    }
    let arguments = vec!["-c".into(), SERVER.into(), at.ip().to_string(), at.port().to_string()];
    let mut server = Daemon::new(dir, "s3".into(), &python, arguments);
    server.start()?;
    let failing = format!("the S3 server does not answer; see {}", server.log().display());
    within(Duration::from_secs(60), &failing, async || Ok(make_bucket(at).await.ok())).await?;
    Ok(server)
}

/// The server accepts any signature, but there must be one.
async fn make_bucket(at: SocketAddr) -> Result<(), Error> {
    let mut stream = TcpStream::connect(at).await?;
    let key = "AWS4-HMAC-SHA256 Credential=chaos/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let request = format!(
        "PUT /{BUCKET} HTTP/1.1\r\nhost: {at}\r\nauthorization: {key}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1);
    if status == Some("200") { Ok(()) } else { Err(format!("the bucket was not made: {answer}").into()) }
}
