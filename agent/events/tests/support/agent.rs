//! An agent's front door, as `docs/events.md` describes it, over pages in memory: in a thread of its own, on a port of its own.

use super::Memory;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use strongroom_events::Source as _;
use strongroom_proto::ids::GroupId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// The token that it takes at first.
pub(crate) const TOKEN: &str = "a.good.token";

/// A running one. Ends with the process.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
}

/// What a test sees, and changes.
pub(crate) struct State {
    memory: Memory,
    /// The token that it takes.
    pub(crate) token: Mutex<String>,
    /// What it answers in the place of the next answers: heads of answers without a body.
    pub(crate) instead: Mutex<Vec<&'static str>>,
    /// How many requests came.
    pub(crate) asked: AtomicUsize,
    /// How many of them wait.
    pub(crate) waiting: watch::Sender<usize>,
    written: watch::Sender<()>,
}

impl Agent {
    pub(crate) fn over(memory: &Memory) -> Self {
        let state = Arc::new(State {
            memory: memory.clone(),
            token: Mutex::new(TOKEN.into()),
            instead: Mutex::default(),
            asked: AtomicUsize::new(0),
            waiting: watch::Sender::new(0),
            written: watch::Sender::new(()),
        });
        let (said, address) = mpsc::channel();
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                said.send(listener.local_addr().unwrap()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&serving)));
                }
            });
        });
        Self { address: address.recv().unwrap(), state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// More was written: who waits looks again.
    pub(crate) fn wrote(&self) {
        self.state.written.send_replace(());
    }
}

/// Answers one request after another.
async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    loop {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        state.asked.fetch_add(1, Ordering::SeqCst);
        let answer = answer(&text, &state).await;
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn answer(head: &str, state: &State) -> Vec<u8> {
    if let Some(instead) = state.instead.lock().unwrap().pop() {
        return format!("HTTP/1.1 {instead}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    }
    let token = state.token.lock().unwrap().clone();
    let bearer = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    if bearer != Some(&format!("Bearer {token}")) {
        return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    let target = head.strip_prefix("GET /events").and_then(|rest| rest.split(' ').next()).expect("GET");
    match found(target, state).await {
        Some(body) => {
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
        }
        None => b"HTTP/1.1 204 No Content\r\nRetry-After: 1\r\n\r\n".to_vec(),
    }
}

async fn found(target: &str, state: &State) -> Option<Vec<u8>> {
    let memory = &state.memory;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let number = |number: Option<u64>| number.map(|number| format!("{number}\n").into_bytes());
    let [group, what] = parts[..] else {
        let mut groups = memory.groups().await.unwrap();
        groups.dedup();
        return Some(groups.iter().map(|group| format!("{group}\n")).collect::<String>().into_bytes());
    };
    let group: GroupId = group.parse().unwrap();
    match what {
        "oldest" => {
            let from = query.strip_prefix("from=").map_or(0, |from| from.parse().unwrap());
            number(memory.oldest(group, from).await.unwrap())
        }
        "newest" => number(memory.newest(group).await.unwrap()),
        page => {
            let page = page.parse().unwrap();
            let wait = query.strip_prefix("wait=").map_or(0, |wait| wait.parse().unwrap());
            let mut written = state.written.subscribe();
            if wait > 0 {
                state.waiting.send_modify(|waiting| *waiting += 1);
            }
            let come = async {
                loop {
                    if let Some(bytes) = memory.page(group, page).await.unwrap() {
                        return bytes;
                    }
                    written.changed().await.unwrap();
                }
            };
            timeout(Duration::from_secs(wait), come).await.ok()
        }
    }
}
