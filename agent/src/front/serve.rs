//! Connections: accepting, TLS, HTTP/1.1 and HTTP/2, and how each one ends.
//!
//! A connection ends when it brings no request that passes the token check for [`Timeouts::idle`], when it stalls, or
//! when the agent stops. In each case the requests in flight are answered first, for up to [`Timeouts::drain`]. When the
//! agent stops, each answer over HTTP/1.1 says that it is the last one, and a connection that waits has a while for the
//! request that may be on its way: one that arrives at a closed connection is lost. Over HTTP/2, GOAWAY says all that. It ends
//! at once when it has to make room for another one; then it has none in flight. A TLS handshake is a waiting
//! connection like any other.
//!
//! `hyper_util::server::graceful` drains connections too, but only all of them at once, when the server stops, and it
//! knows no TLS handshakes. A connection here also drains for reasons of its own, so its own task tells it to. The
//! semaphore that bounds the sockets shows when all have ended.
//!
//! **Memory.** The most that peers without a token can make the front door hold is this, times `max_connections`:
//!
//! | | HTTP/1.1 | HTTP/2 |
//! |---|---|---|
//! | requests at once | 1 | 32 |
//! | heads | 8 KiB | 32 of 4 KiB, and one that arrives: 132 KiB |
//! | bodies read, at most 5 KiB each (6 KiB over gRPC) | 6 KiB | 193 KiB |
//! | bodies ahead of that | in the 8 KiB | 64 KiB |
//! | TLS | about 64 KiB | about 64 KiB |
//! | together, rounded up | 96 KiB | 464 KiB |
//!
//! With the default of 4,096 connections that is at most 1.8 GiB, for one address with 256 at most 116 MiB, and about
//! 70 MiB for 4,096 connections that are idle after a request (measured: 17 KiB each). The kernel's buffers come on top.

use super::connections::Seat;
use super::door::Front;
use super::metrics::Counted;
use super::timeouts::Timeouts;
use crate::accept::accept;
use crate::tls::Tls;
use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections beyond `max_connections` that may be open because they were ended and are not closed yet.
pub const CLOSING: u32 = 64;
/// Bytes that are read ahead over HTTP/1.1, and so the most bytes of headers.
const MAX_HEAD: usize = 8 * 1024;
/// How long a connection that waits is kept when the agent stops.
const LINGER: Duration = Duration::from_millis(250);
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Bytes of headers of one HTTP/2 request.
const MAX_STREAM_HEAD: u32 = 4 * 1024;
/// Bytes of body that an HTTP/2 client may send ahead, per request and in all.
const STREAM_WINDOW: u32 = 8 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;
/// Bytes of answers that wait for an HTTP/2 client to read them, per request.
const SEND_BUFFER: usize = 4 * 1024;

/// Serves `router` on `listener` until `shutdown` completes and the connections have ended.
///
/// With `tls`, everything is TLS, and the certificate in use is the one that [`Tls::current`] gives at the time.
/// `front` is the one that `router` was made from; its limits and time-outs hold for the connections.
pub async fn serve(
    listener: TcpListener,
    front: &Front,
    router: Router,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) {
    if tls.is_none() && listener.local_addr().is_ok_and(|address| !address.ip().is_loopback()) {
        tracing::warn!(
            "the front door speaks plain HTTP: set [tls], or let nothing but a TLS proxy reach it"
        );
    }
    let limit = front.0.max_connections.saturating_add(CLOSING);
    let sockets = Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX)));
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let socket = tokio::select! {
            socket = Arc::clone(&sockets).acquire_owned() => socket.expect("this semaphore is never closed"),
            () = &mut shutdown => break,
        };
        let (stream, address) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut shutdown => break,
        };
        begin(front, &router, &tls, &stopped, socket, stream, address);
    }
    // What has connected already would be cut off with what it has sent.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        let Ok(socket) = Arc::clone(&sockets).try_acquire_owned() else { break };
        begin(front, &router, &tls, &stopped, socket, stream, address.ip());
    }
    drop(listener);
    stop.send_replace(true);
    // Every connection gives its socket back, at the latest when its drain time is up.
    let _ = sockets.acquire_many(limit).await;
}

/// Serves a connection, in a task of its own, if it gets a seat.
fn begin(
    front: &Front,
    router: &Router,
    tls: &Option<Arc<Tls>>,
    stopped: &watch::Receiver<bool>,
    socket: OwnedSemaphorePermit,
    stream: TcpStream,
    address: IpAddr,
) {
    let metrics = &front.0.metrics;
    let seat = match front.0.connections.admit(address) {
        Ok((seat, gave_way)) => {
            metrics.connections_gave_way.inc_by(gave_way.into());
            Arc::new(seat)
        }
        Err(refused) => {
            tracing::debug!(?refused, "a connection was refused");
            metrics.connections_refused.inc();
            return;
        }
    };
    let counted = Counted::on(&metrics.connections);
    let connection = Connection {
        router: router.clone(),
        timeouts: front.0.timeouts,
        stopped: stopped.clone(),
        seat: Arc::clone(&seat),
    };
    let tls = tls.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = connection.accept(stream, tls) => {}
            () = seat.ended() => tracing::debug!("a connection was ended to make room"),
        }
        drop((counted, socket));
    });
}

struct Connection {
    router: Router,
    timeouts: Timeouts,
    stopped: watch::Receiver<bool>,
    seat: Arc<Seat>,
}

impl Connection {
    async fn accept(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        let Some(tls) = tls else { return self.serve(stream).await };
        let handshake = TlsAcceptor::from(tls.current().config()).accept(stream);
        let stopped = until(self.stopped.clone());
        let handshake = tokio::select! {
            handshake = timeout(self.timeouts.head, handshake) => handshake,
            () = stopped => return,
        };
        match handshake {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { router, timeouts, stopped, seat } = self;
        let router = TowerToHyperService::new(router);
        let (own, ends, old) = (Arc::clone(&seat), stopped.clone(), Arc::new(AtomicBool::new(true)));
        let is_old = Arc::clone(&old);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&own));
            request.extensions_mut().insert(Stopping(ends.clone()));
            is_old.store(request.version() < Version::HTTP_2, Ordering::Relaxed);
            let (answer, ends, is_old) = (router.call(request), ends.clone(), Arc::clone(&is_old));
            async move {
                let mut answer = answer.await?;
                if *ends.borrow() && is_old.load(Ordering::Relaxed) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut stopped = pin!(until(stopped));
        let builder = builder(&timeouts);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        loop {
            let idle_at = seat.waits_since().unwrap_or_else(Instant::now) + timeouts.idle;
            tokio::select! {
                result = connection.as_mut() => return log(result),
                () = &mut stopped => {
                    let linger = if old.load(Ordering::Relaxed) { LINGER } else { Duration::ZERO };
                    if let Ok(result) = timeout(linger, connection.as_mut()).await {
                        return log(result);
                    }
                    break;
                }
                () = sleep_until(idle_at) => {
                    if seat.waits_since().is_some_and(|since| since + timeouts.idle <= Instant::now()) {
                        break;
                    }
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(result) = timeout(timeouts.drain, connection).await {
            log(result);
        }
    }
}

/// Whether the agent stops, for those who wait.
#[derive(Clone)]
pub(super) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Completes when it stops.
    pub(super) async fn begins(&self) {
        until(self.0.clone()).await;
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender goes away only after it has said so.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn log(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn builder(timeouts: &Timeouts) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_STREAM_HEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, FrontMetrics, router};
    use super::*;
    use crate::limits::Limits;
    use crate::tenants::{Tenants, TestTenants};
    use crate::traces::{Traces, Trail};
    use async_trait::async_trait;
    use strongroom_proto::client::{ClientRequest, ClientResponse};
    use strongroom_proto::ids::RealmId;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    struct Nothing;

    #[async_trait]
    impl Backend for Nothing {
        fn realm(&self) -> Option<RealmId> {
            None
        }

        async fn serve(&self, _: &str, _: &str, _: ClientRequest, _: &Trail) -> ClientResponse {
            ClientResponse::Unavailable
        }
    }

    fn front() -> Front {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let tenants = Tenants::open(file.path().into(), TestTenants::Refused).expect("no tenants is legal");
        let (limits, timeouts) = (Limits::default(), Timeouts::default());
        let clock = Arc::new(|| 0);
        let (tenants, metrics) = (Arc::new(tenants), FrontMetrics::default());
        Front::new(Arc::new(Nothing), tenants, &limits, timeouts, clock, metrics, Traces::off())
    }

    /// A connection in memory, on the test's clock, and its other end.
    fn connect(front: &Front) -> (DuplexStream, JoinHandle<Duration>, watch::Sender<bool>) {
        let (ours, theirs) = duplex(1 << 20);
        let (stop, stopped) = watch::channel(false);
        let seat = Arc::new(front.0.connections.admit([10, 0, 0, 1].into()).expect("room").0);
        let connection =
            Connection { router: router(front.clone()), timeouts: front.0.timeouts, stopped, seat };
        let began = Instant::now();
        let served = tokio::spawn(async move {
            connection.serve(theirs).await;
            began.elapsed()
        });
        (ours, served, stop)
    }

    /// How long a connection lives whose client sends `what(n)` as its `n`th message, one every nine seconds.
    async fn life_of(what: impl Fn(u32) -> Vec<u8>) -> Duration {
        let (mut stream, served, _stop) = connect(&front());
        for n in 0..100 {
            if served.is_finished() || stream.write_all(&what(n)).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(9)).await;
            let mut said = [0; 4096];
            // What the server says does not matter, but must not fill the pipe.
            let _ = timeout(Duration::from_millis(1), stream.read(&mut said)).await;
        }
        served.await.expect("no panic")
    }

    fn bounds() -> std::ops::RangeInclusive<Duration> {
        let Timeouts { idle, drain, .. } = Timeouts::default();
        idle..=idle + drain + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_without_a_token_do_not_keep_a_connection() {
        let life = life_of(|_| b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()).await;
        assert!(bounds().contains(&life), "{life:?}");
        let life = life_of(|_| {
            let head =
                "POST /req HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\nContent-Length: 1\r\n\r\nx";
            head.as_bytes().to_vec()
        });
        let life = life.await;
        assert!(bounds().contains(&life), "{life:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_stall_one_after_another_do_not_keep_a_connection() {
        let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
            let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
            [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
        };
        // POST http://a/req with a version, in literals of HPACK.
        let mut head = vec![0x83, 0x86, 0x04, 4];
        head.extend_from_slice(b"/req\x01\x01a\x00\x12x-juicebox-version\x050.3.4");
        let life = life_of(|n| {
            let headers = frame(1, 4, 2 * n + 1, &head);
            if n > 0 {
                return headers;
            }
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
            [preface, &frame(4, 0, 0, &[]), &frame(4, 1, 0, &[]), &headers].concat()
        });
        let life = life.await;
        assert!(bounds().contains(&life), "{life:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_or_half_a_head_ends() {
        for half in ["", "PRI * HTT", "POST /req HTTP/1.1\r\nX: "] {
            let life = life_of(|n| if n == 0 { half.as_bytes().to_vec() } else { vec![] }).await;
            assert!(life <= *bounds().end(), "{half:?}: {life:?}");
        }
    }
}
