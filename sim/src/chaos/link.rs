//! A connection that a run can break: everything between two processes goes through this one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What a link does with what it has to carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Carries it.
    #[default]
    Open,
    /// Ends every connection, and every new one at once.
    Cut,
    /// Accepts connections and bytes, but passes nothing on until the mode changes.
    Stalled,
    /// Passes each piece on after this time.
    Slow(Duration),
    /// Passes requests on; ends the connection when the answer comes.
    Deaf,
    /// Answers each HTTP request with 503 and does not pass it on.
    Refusing,
}

/// Where a link leads.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A link that carries connections, until it is dropped.
pub struct Link {
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link from a free port of `ip`, which is returned.
    pub(super) async fn tcp(ip: Ipv4Addr, to: SocketAddr) -> std::io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Open);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(carry(Box::new(stream), Target::Tcp(to), seen.clone()));
            }
        });
        Ok((Self { mode, task }, address))
    }

    /// A link from one Unix socket, which is made, to another.
    pub(super) fn unix(from: &Path, to: PathBuf) -> std::io::Result<Self> {
        let listener = UnixListener::bind(from)?;
        let (mode, seen) = watch::channel(Mode::Open);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(Box::new(stream), Target::Unix(to.clone()), seen.clone()));
            }
        });
        Ok(Self { mode, task })
    }

    /// What it does from now on, including with existing connections.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

async fn carry(asker: Box<dyn Stream>, to: Target, mut mode: watch::Receiver<Mode>) {
    if mode.wait_for(|mode| *mode != Mode::Stalled).await.is_err() || *mode.borrow() == Mode::Cut {
        return;
    }
    let answerer: std::io::Result<Box<dyn Stream>> = match to {
        Target::Tcp(to) => TcpStream::connect(to).await.map(|stream| {
            let _ = stream.set_nodelay(true);
            Box::new(stream) as Box<dyn Stream>
        }),
        Target::Unix(to) => UnixStream::connect(to).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
    };
    let Ok(answerer) = answerer else { return };
    let (mut from_asker, mut to_asker) = split(asker);
    let (mut from_answerer, mut to_answerer) = split(answerer);
    let end = tokio::select! {
        end = pump(Way::Request, &mut from_asker, &mut to_answerer, mode.clone()) => end,
        end = pump(Way::Answer, &mut from_answerer, &mut to_asker, mode.clone()) => end,
    };
    if end == End::Refused {
        // The client may be gone.
        let _ = to_asker.write_all(REFUSAL).await;
    }
}

async fn pump(
    way: Way,
    from: &mut ReadHalf<Box<dyn Stream>>,
    to: &mut WriteHalf<Box<dyn Stream>>,
    mut mode: watch::Receiver<Mode>,
) -> End {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut cut = mode.clone();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = cut.wait_for(|mode| *mode == Mode::Cut) => return End::Closed,
        };
        let Ok(length @ 1..) = read else { return End::Closed };
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Stalled).await.map(|mode| *mode) else {
            return End::Closed;
        };
        match now {
            Mode::Cut => return End::Closed,
            Mode::Deaf if way == Way::Answer => return End::Closed,
            Mode::Refusing if way == Way::Request => return End::Refused,
            Mode::Slow(delay) => sleep(delay).await,
            Mode::Open | Mode::Deaf | Mode::Refusing | Mode::Stalled => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return End::Closed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link to a server that answers each one-byte request with the next byte, and counts.
    async fn linked() -> (Link, SocketAddr, watch::Receiver<usize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (link, address) = Link::tcp(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap()).await.unwrap();
        let (count, served) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = count.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        count.send_modify(|count| *count += 1);
                        let _ = stream.write_u8(byte + 1).await;
                    }
                });
            }
        });
        (link, address, served)
    }

    /// Everything that comes before the connection ends, or one byte.
    async fn ask(stream: &mut TcpStream) -> Vec<u8> {
        let _ = stream.write_u8(1).await;
        let mut answer = vec![0; 200];
        let read = stream.read(&mut answer).await.unwrap_or(0);
        answer.truncate(read);
        answer
    }

    #[tokio::test]
    async fn an_open_link_carries_and_a_cut_one_ends_existing_and_new_connections() {
        let (link, address, served) = linked().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut stream).await, [2]);
        link.set(Mode::Cut);
        assert_eq!(ask(&mut stream).await, b"");
        assert_eq!(ask(&mut TcpStream::connect(address).await.unwrap()).await, b"");
        link.set(Mode::Open);
        assert_eq!(ask(&mut TcpStream::connect(address).await.unwrap()).await, [2]);
        assert_eq!(*served.borrow(), 2);
    }

    #[tokio::test]
    async fn a_stalled_link_holds_what_it_has_until_it_is_open() {
        let (link, address, served) = linked().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut stream).await, [2]);
        link.set(Mode::Stalled);
        let (answer, ()) = tokio::join!(ask(&mut stream), async {
            tokio::task::yield_now().await;
            assert_eq!(*served.borrow(), 1);
            link.set(Mode::Open);
        });
        assert_eq!(answer, [2]);
    }

    #[tokio::test]
    async fn a_deaf_link_passes_the_request_on_and_loses_the_answer() {
        let (link, address, mut served) = linked().await;
        link.set(Mode::Deaf);
        assert_eq!(ask(&mut TcpStream::connect(address).await.unwrap()).await, b"");
        served.wait_for(|count| *count == 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_refusing_link_answers_and_passes_nothing_on() {
        let (link, address, served) = linked().await;
        link.set(Mode::Refusing);
        let answer = ask(&mut TcpStream::connect(address).await.unwrap()).await;
        assert!(answer.starts_with(b"HTTP/1.1 503"), "{answer:?}");
        assert_eq!(*served.borrow(), 0);
    }
}
