//! Connections: accepting, TLS, HTTP/1.1 and HTTP/2, and an end for each.
//!
//! A connection ends when it is idle, when it stalls, or when the agent stops. In each case the requests in flight
//! are answered first, for as long as [`Timeouts::drain`].

use super::{Front, Timeouts};
use crate::tls::Tls;
use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// How long to wait after the system refused to give a connection, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of headers that are read of a request.
const MAX_HEAD: u32 = 16 * 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Bytes of body that an HTTP/2 client may send ahead, of one request and in all.
const STREAM_WINDOW: u32 = 8 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;

/// Serves `router` on `listener` until `shutdown` completes and the connections have ended.
///
/// With `tls`, everything is TLS, and the certificate in use is the one that [`Tls::current`] gives at the time.
/// `front` is the one that `router` was made of; its limits and time-outs hold for the connections.
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
    let limit = front.0.max_connections;
    let places = Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX)));
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("this semaphore is never closed"),
            () = &mut shutdown => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            () = &mut shutdown => break,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit on open files");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection =
            Connection { router: router.clone(), timeouts: front.0.timeouts, stopped: stopped.clone() };
        let tls = tls.clone();
        tokio::spawn(async move {
            connection.accept(stream, tls).await;
            drop(place);
        });
    }
    drop(listener);
    stop.send_replace(true);
    // Every connection gives its place back, at the latest when its drain time has passed.
    let _ = places.acquire_many(limit).await;
}

struct Connection {
    router: Router,
    timeouts: Timeouts,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn accept(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        // A failure costs only latency.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.serve(stream).await };
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
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
        let Self { router, timeouts, stopped } = self;
        let mut stopped = pin!(until(stopped));
        let activity = Arc::new(Activity::new());
        let router = TowerToHyperService::new(router);
        let counted = Arc::clone(&activity);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let in_flight = counted.begin();
            let response = router.call(request);
            async move {
                let response = response.await;
                drop(in_flight);
                response
            }
        });
        let builder = builder(&timeouts);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        loop {
            let idle_at = activity.idle_since().unwrap_or_else(Instant::now) + timeouts.idle;
            tokio::select! {
                result = connection.as_mut() => return log(result),
                () = &mut stopped => break,
                () = sleep_until(idle_at) => {
                    if activity.idle_since().is_some_and(|since| since + timeouts.idle <= Instant::now()) {
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
        .max_buf_size(MAX_HEAD as usize)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Whether a connection is busy, and since when it is not.
struct Activity(Mutex<(usize, Instant)>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }

    fn begin(self: &Arc<Self>) -> InFlight {
        self.update(|in_flight| in_flight.saturating_add(1));
        InFlight(Arc::clone(self))
    }

    fn idle_since(&self) -> Option<Instant> {
        let (in_flight, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (in_flight == 0).then_some(since)
    }

    fn update(&self, next: impl FnOnce(usize) -> usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (next(state.0), Instant::now());
    }
}

/// One request in flight; ends when dropped.
struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.update(|in_flight| in_flight.saturating_sub(1));
    }
}
