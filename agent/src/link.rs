//! The link to the HSM: one request after another, each answered or lost.
//!
//! Owns the connection, its time-outs and its reconnects. The HSM is a separate machine that may stop, hang or be
//! replaced at any time. A reply that does not come is [`Lost`]: the request may have been carried out, and the caller
//! has to settle that. A late reply is discarded by its request id, so no request ever gets the reply to another.

mod timed;

pub use timed::{HsmMetrics, TimedLink};

use async_trait::async_trait;
use bytes::Buf;
use futures::FutureExt;
use serde::Deserialize;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use strongroom_proto::frame::{Decoder, Frame, MAX_FRAME_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::{Zeroize, Zeroizing};

/// The reply to a request did not arrive. The request may have been carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the HSM did not answer; check that it runs and that `hsm` in the configuration is its address")]
pub struct Lost;

/// A connection to an HSM.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Sends a request and waits for its reply. Ends in bounded time. Calls are carried out in the order in which they
    /// begin; begin one only when the previous one has ended.
    ///
    /// # Errors
    /// [`Lost`].
    async fn call(&self, request: Vec<u8>) -> Result<Vec<u8>, Lost>;
}

/// How an agent reaches its HSM.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum HsmAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address, `host:port`.
    Tcp(String),
}

impl TryFrom<String> for HsmAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) if is_host_and_port(address) => Ok(Self::Tcp(address.into())),
            _ => Err("the HSM is `unix:PATH` or `tcp:HOST:PORT`"),
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// How long one call may take, including connecting.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After this many lost replies in a row, a connection counts as dead.
const MAX_SILENCE: u32 = 3;

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A link over a Unix socket or TCP, in frames of [`strongroom_proto::frame`].
pub struct SocketLink {
    address: HsmAddress,
    call_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    connection: Option<Connection>,
    next_id: u32,
    pause: Duration,
    silence: u32,
}

struct Connection {
    stream: Pin<Box<dyn Stream>>,
    decoder: Decoder,
    /// What is read lands here. Not in a call's future, which would be as large, and made and moved for each call.
    buffer: Zeroizing<Vec<u8>>,
}

/// How many bytes are read at once.
const READ_BYTES: usize = 16 * 1024;

impl SocketLink {
    /// A link to the HSM at `address`. Connects on first use.
    #[must_use]
    pub fn new(address: HsmAddress) -> Self {
        Self::with_timeout(address, CALL_TIMEOUT)
    }

    /// The same with a different time-out for calls.
    #[must_use]
    pub fn with_timeout(address: HsmAddress, call_timeout: Duration) -> Self {
        let state = State { connection: None, next_id: 0, pause: FIRST_PAUSE, silence: 0 };
        Self { address, call_timeout, state: Mutex::new(state) }
    }

    /// Connects, and tries again for as long as the call has time.
    async fn connect(&self, pause: &mut Duration, deadline: Instant) -> Result<Connection, Lost> {
        loop {
            match timeout_at(deadline, open(&self.address)).await {
                Ok(Ok(stream)) => {
                    tracing::info!(address = ?self.address, "connected to the HSM");
                    let buffer = Zeroizing::new(vec![0; READ_BYTES]);
                    return Ok(Connection { stream, decoder: Decoder::new(MAX_FRAME_BYTES), buffer });
                }
                // Logged once each time that it goes away.
                Ok(Err(error)) if *pause == FIRST_PAUSE => {
                    tracing::warn!(address = ?self.address, %error, "cannot connect to the HSM; is it running?");
                }
                Ok(Err(_)) => {}
                Err(_) => return Err(Lost),
            }
            let next = Instant::now() + *pause;
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            sleep_until(next.min(deadline)).await;
            if next >= deadline {
                return Err(Lost);
            }
        }
    }
}

impl SocketLink {
    /// Sends a whole frame, on a new connection if the last one has ended: an HSM that was restarted has not seen a
    /// frame that could not be sent whole.
    async fn send(
        &self,
        state: &mut State,
        (header, payload): (&[u8], &[u8]),
        deadline: Instant,
    ) -> Result<Connection, Lost> {
        // Taken out, so that a call that is dropped halfway takes its half-sent frame with it.
        if let Some(mut connection) = state.connection.take().and_then(Connection::if_alive) {
            match timeout_at(deadline, connection.send(header, payload)).await {
                Ok(Ok(())) => return Ok(connection),
                Ok(Err(error)) => tracing::debug!(%error, "the connection to the HSM has ended"),
                Err(_) => return Err(Lost),
            }
        }
        let mut connection = self.connect(&mut state.pause, deadline).await?;
        state.silence = 0;
        match timeout_at(deadline, connection.send(header, payload)).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(Lost),
        }
    }
}

#[async_trait]
impl Link for SocketLink {
    async fn call(&self, request: Vec<u8>) -> Result<Vec<u8>, Lost> {
        let mut state = self.state.lock().await;
        let deadline = Instant::now() + self.call_timeout;
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        let header = Frame::header(id, &request, MAX_FRAME_BYTES).map_err(|error| {
            tracing::error!(%error, "a request for the HSM was not sent");
            Lost
        })?;
        let mut connection = self.send(&mut state, (&header, &request), deadline).await?;
        match timeout_at(deadline, connection.reply_to(id)).await {
            Ok(Ok(reply)) => {
                (state.pause, state.silence) = (FIRST_PAUSE, 0);
                state.connection = Some(connection);
                Ok(reply)
            }
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => {
                // Kept: on another connection the HSM might carry out what follows before what it still has from this
                // one.
                state.silence = state.silence.saturating_add(1);
                state.connection = (state.silence < MAX_SILENCE).then_some(connection);
                tracing::warn!("the HSM did not answer in time");
                Err(Lost)
            }
        }
    }
}

fn broken(error: &io::Error) -> Lost {
    tracing::warn!(%error, "the connection to the HSM broke");
    Lost
}

async fn open(address: &HsmAddress) -> io::Result<Pin<Box<dyn Stream>>> {
    match address {
        HsmAddress::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
        HsmAddress::Tcp(address) => {
            let stream = TcpStream::connect(address.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(Box::pin(stream))
        }
    }
}

impl Connection {
    /// Sends a frame of these two parts, in one write if they fit.
    async fn send(&mut self, header: &[u8], payload: &[u8]) -> io::Result<()> {
        self.stream.write_all_buf(&mut Buf::chain(header, payload)).await?;
        self.stream.flush().await
    }

    /// This connection, unless its other end is gone. Late replies that have arrived are discarded.
    fn if_alive(mut self) -> Option<Self> {
        loop {
            let read = match self.stream.read(&mut self.buffer).now_or_never() {
                None => return Some(self),
                Some(read) => read.ok().filter(|read| *read > 0)?,
            };
            let mut input = self.buffer.get(..read)?;
            while self.decoder.push(&mut input).ok()?.is_some() {
                tracing::debug!("a late reply from the HSM was discarded");
            }
            self.wipe(read);
        }
    }

    /// The reply to the request `id`; replies to earlier requests are discarded. May be dropped and called again.
    async fn reply_to(&mut self, id: u32) -> io::Result<Vec<u8>> {
        loop {
            let read = self.stream.read(&mut self.buffer).await?;
            let mut input = self.buffer.get(..read).unwrap_or_default();
            if input.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while let Some(frame) = self
                .decoder
                .push(&mut input)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                if frame.request_id == id {
                    // Nothing was asked after this, so nothing may follow.
                    let ends = input.is_empty();
                    self.wipe(read);
                    return if ends { Ok(frame.payload) } else { Err(io::ErrorKind::InvalidData.into()) };
                }
                tracing::debug!("a late reply from the HSM was discarded");
            }
            self.wipe(read);
        }
    }

    /// Secret: a reply may hold keys, and the buffer stays.
    fn wipe(&mut self, read: usize) {
        self.buffer.split_at_mut(read).0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_of_a_reply_stays_in_the_buffer_however_it_came() {
        let (near, mut far) = tokio::io::duplex(64);
        let buffer = Zeroizing::new(vec![0; READ_BYTES]);
        let mut connection =
            Connection { stream: Box::pin(near), decoder: Decoder::new(MAX_FRAME_BYTES), buffer };
        let late = Frame::encode(6, &[5; 100], MAX_FRAME_BYTES).unwrap();
        let reply = Frame::encode(7, &[9; 1_000], MAX_FRAME_BYTES).unwrap();
        let sent = async { far.write_all(&[late, reply].concat()).await.unwrap() };
        let (got, ()) = tokio::join!(connection.reply_to(7), sent);
        assert_eq!(got.unwrap(), [9; 1_000]);
        assert!(connection.buffer.iter().all(|byte| *byte == 0));
        let late = Frame::encode(8, &[5; 40], MAX_FRAME_BYTES).unwrap();
        far.write_all(&late).await.unwrap();
        let connection = connection.if_alive().expect("the other end is there");
        assert!(connection.buffer.iter().all(|byte| *byte == 0));
    }
}
