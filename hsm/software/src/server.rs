//! Serves one core to its agent: frames in, frames out, in threads.
//!
//! Connections are served side by side, each in its own order, one request at a time in the core. There are at most
//! [`MAX_CONNECTIONS`]; one more replaces the oldest, so that an agent which lost its host's memory of old
//! connections can always come back. Each holds one incomplete frame at most.

use crate::link::Stream;
use crate::{Address, Error, Listener};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use strongroom_proto::frame::{Decoder, Frame, MAX_FRAME_BYTES};

/// The most connections served at a time.
pub const MAX_CONNECTIONS: usize = 8;
/// How long to wait after the system refused to give a connection: it may go on to for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running HSM. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: Address,
    /// Closing this end tells the accepting thread to stop.
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `handler`, which turns the payload of a request into that of its reply, to whoever connects to
    /// `listener`. Requests of more than `max_frame_bytes` end their connection.
    ///
    /// A handler that panics is never called again, and the server stops: what it holds may be half changed.
    ///
    /// # Errors
    /// [`Error::Listen`] when the system gives no socket pair or thread.
    pub fn spawn<H>(listener: Listener, max_frame_bytes: u32, handler: H) -> Result<Self, Error>
    where
        H: FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    {
        let address = listener.address().clone();
        let failed = |source| Error::Listen { address: address.clone(), source };
        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let failing = stop.try_clone().map_err(failed)?;
        let shared = Shared {
            max_frame_bytes,
            handler: Mutex::new(handler),
            connections: Mutex::default(),
            stop: failing,
        };
        let thread = thread::Builder::new().name("hsm".into());
        let thread = thread.spawn(move || shared.accept(&listener, &stopped)).map_err(failed)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops as if power failed: connections end at once, and a reply under way is lost. The core finishes the request
    /// that it is working on; nothing is written after it. When this returns the socket file is gone and the lock on
    /// the NVRAM file is free.
    pub fn stop(self) {
        drop(self);
    }

    /// A way to stop it from elsewhere while [`Self::wait`] waits.
    ///
    /// # Errors
    /// The system gives no socket.
    pub fn stopper(&self) -> io::Result<Stopper> {
        Ok(Stopper(self.stop.try_clone()?))
    }

    /// Waits until the server stops by itself, which it does only when its handler has panicked, or by a [`Stopper`].
    pub fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HSM failed: restart it");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        close(&self.stop);
        self.join();
    }
}

/// Stops a server, as [`Server::stop`] does.
#[derive(Debug)]
pub struct Stopper(UnixStream);

impl Stopper {
    /// Tells the server to stop. [`Server::wait`] returns when it has.
    pub fn stop(&self) {
        close(&self.0);
    }
}

/// What the threads of one server share.
struct Shared<H> {
    max_frame_bytes: u32,
    /// A lock of the standard library, since a panic has to poison it: the core may be half changed.
    handler: Mutex<H>,
    connections: Mutex<VecDeque<(u64, Stream)>>,
    stop: UnixStream,
}

impl<H: FnMut(&[u8]) -> Vec<u8> + Send> Shared<H> {
    /// Accepts connections until `stopped` is closed, then ends them all.
    fn accept(&self, listener: &Listener, stopped: &UnixStream) {
        thread::scope(|scope| {
            for id in 0.. {
                match next(listener, stopped) {
                    Ok(Some(stream)) => {
                        let Some(kept) = self.admit(id, &stream) else { continue };
                        let serve = move || {
                            let _kept = kept;
                            self.serve(stream);
                        };
                        if let Err(error) = thread::Builder::new().spawn_scoped(scope, serve) {
                            tracing::warn!(%error, "no thread for a connection");
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection; raise the limit on open files");
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
            self.open_connections().drain(..).for_each(|(_, stream)| stream.close());
        });
    }

    fn open_connections(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Stream)>> {
        // Nothing under this lock can be left half done.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection and remembers it until the returned guard goes.
    fn admit(&self, id: u64, stream: &Stream) -> Option<Kept<'_, H>> {
        let clone = stream
            .try_clone()
            .inspect_err(|error| tracing::warn!(%error, "no room for a connection"))
            .ok()?;
        let mut open = self.open_connections();
        while open.len() >= MAX_CONNECTIONS {
            if let Some((_, oldest)) = open.pop_front() {
                tracing::warn!("too many connections: the oldest is closed");
                oldest.close();
            }
        }
        open.push_back((id, clone));
        Some(Kept { shared: self, id })
    }

    fn serve(&self, mut stream: Stream) {
        if let Err(error) = self.exchange(&mut stream) {
            tracing::warn!(%error, "a connection ended");
        }
        stream.close();
    }

    fn exchange(&self, stream: &mut Stream) -> io::Result<()> {
        let mut decoder = Decoder::new(self.max_frame_bytes);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(0) if decoder.is_mid_frame() => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut input = buffer.get(..read).unwrap_or_default();
            while let Some(request) = decoder.push(&mut input).map_err(io::Error::other)? {
                let reply = self.handle(&request.payload)?;
                let reply = Frame::encode(request.request_id, &reply, MAX_FRAME_BYTES);
                stream.write_all(&reply.map_err(io::Error::other)?)?;
            }
        }
    }

    fn handle(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let _alarm = Alarm(&self.stop);
        let mut handler = self.handler.lock().map_err(|_| io::Error::other("the HSM failed: restart it"))?;
        Ok(handler(request))
    }
}

/// The next connection, or `None` once `stopped` is closed at its other end.
fn next(listener: &Listener, stopped: &UnixStream) -> io::Result<Option<Stream>> {
    loop {
        let mut ready = [PollFd::new(stopped, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        let [stopped, _] = &ready;
        if !stopped.revents().is_empty() {
            return Ok(None);
        }
        match listener.accept() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            accepted => return accepted.map(Some),
        }
    }
}

/// Forgets a connection when it has ended.
struct Kept<'a, H: FnMut(&[u8]) -> Vec<u8> + Send> {
    shared: &'a Shared<H>,
    id: u64,
}

impl<H: FnMut(&[u8]) -> Vec<u8> + Send> Drop for Kept<'_, H> {
    fn drop(&mut self) {
        self.shared.open_connections().retain(|(id, _)| *id != self.id);
    }
}

/// Stops the server when its handler panics.
struct Alarm<'a>(&'a UnixStream);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            close(self.0);
        }
    }
}

fn close(stop: &UnixStream) {
    // It fails only when it is closed already.
    let _ = stop.shutdown(std::net::Shutdown::Both);
}
