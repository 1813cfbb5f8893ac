//! HTTP in front of a [`Witness`]: `POST /add-checkpoint`, with bounds on everything that a stranger can take up.

use crate::witness::{Answer, Storage, Witness};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use strongroom_tlog::add_checkpoint::{MAX_LEN, SIZE_TYPE};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const TEXT: &str = "text/plain; charset=utf-8";

/// How much a stranger can take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// How long the head of a request may take, also the next one on a connection.
    pub head: Duration,
    /// How long the body of a request may take.
    pub body: Duration,
    /// How long a connection may be kept.
    pub connection: Duration,
    /// How long requests under way may take once the witness is to stop.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(30),
            body: Duration::from_secs(10),
            connection: Duration::from_secs(600),
            shutdown: Duration::from_secs(10),
        }
    }
}

/// A witness and the time that a body may take.
struct Front<S> {
    witness: Arc<Witness<S>>,
    body: Duration,
}

impl<S> Clone for Front<S> {
    fn clone(&self) -> Self {
        Self { witness: Arc::clone(&self.witness), body: self.body }
    }
}

/// Serves until `stop`. Requests under way are answered then, as far as they end in time.
pub async fn serve<S: Storage>(
    listener: TcpListener,
    witness: Arc<Witness<S>>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let front = Front { witness, body: limits.body };
    let router = Router::new().route("/add-checkpoint", post(add_checkpoint::<S>)).with_state(front);
    let places = Arc::new(Semaphore::new(limits.connections));
    let (stopping, stops) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = connection(stream, router.clone(), limits, stops.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Too many open files, for one; it passes.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    drop(stopping);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.shutdown, ended).await.is_err() {
        tracing::warn!("requests were left unanswered");
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, mut stops: watch::Receiver<()>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = timeout(limits.connection, async {
        tokio::select! {
            ended = served.as_mut() => return ended,
            // The sender is dropped.
            _ = stops.changed() => served.as_mut().graceful_shutdown(),
        }
        served.as_mut().await
    });
    if let Ok(Err(error)) = ended.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn add_checkpoint<S: Storage>(State(front): State<Front<S>>, body: Body) -> Response {
    let body = match timeout(front.body, to_bytes(body, MAX_LEN)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("a request has at most {MAX_LEN} bytes\n"));
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request took too long; send it again\n"),
    };
    // It waits for the disk. If the connection goes, it ends nevertheless.
    match tokio::task::spawn_blocking(move || front.witness.add_checkpoint(&body)).await {
        Ok(answer) => respond(&answer),
        Err(error) => {
            tracing::error!(%error, "a request failed");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n")
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text.to_owned()).into_response()
}

fn respond(answer: &Answer) -> Response {
    match answer {
        Answer::Cosigned(line) => plain(StatusCode::OK, line),
        Answer::Malformed(error) => plain(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        Answer::OldIsLarger => plain(StatusCode::BAD_REQUEST, "the old size is larger than the checkpoint\n"),
        Answer::UnknownLog => plain(StatusCode::NOT_FOUND, "this witness does not watch that log\n"),
        Answer::Unsigned => plain(StatusCode::FORBIDDEN, "the log has not signed the checkpoint\n"),
        Answer::Conflict(size) => {
            (StatusCode::CONFLICT, [(CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")).into_response()
        }
        Answer::Refuted(error) => plain(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error}\n")),
        Answer::Unavailable => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "nothing was cosigned; try again later\n")
        }
    }
}
