//! Connections between two ends that know each other: how one is made, accepted and refused.
//!
//! A connection ends when the agent's identity is no longer the one it was made under. Strangers get no further than
//! the handshake, and each address may have only a few of those at once, so strangers cannot keep peers out.

use super::authority::Caller;
use super::identity::{Identities, Who};
use super::places::{Place, Places};
use super::refused::{Reason, Refused};
use crate::accept::accept as next;
use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use url::{Host, Url};

/// Concurrent handshakes from one address, and in all.
const HANDSHAKES_OF_ONE: usize = 32;
const HANDSHAKES: usize = 1024;
/// Concurrent connections of one caller, and in all: one of each agent of a large realm may come with requests.
pub(crate) const CONNECTIONS_OF_ONE: usize = 16;
pub(crate) const CONNECTIONS: usize = 4096;

/// A connection whose other end is known.
pub(crate) struct Known<S> {
    stream: S,
    caller: Caller,
    /// Completes when this agent's identity has changed.
    changed: futures::future::Fuse<BoxFuture<'static, ()>>,
    over: bool,
    _place: Option<Place<Caller>>,
}

impl<S> Known<S> {
    fn new(
        stream: S,
        caller: Caller,
        who: Who,
        mut identities: Identities,
        place: Option<Place<Caller>>,
    ) -> Self {
        let changed = async move {
            // An error means that the agent is ending, and its connections with it.
            let _ = identities.wait_for(|now| now.as_ref().is_none_or(|now| now.who() != who)).await;
        };
        Self { stream, caller, changed: changed.boxed().fuse(), over: false, _place: place }
    }

    /// Who is at the other end.
    pub(super) const fn caller(&self) -> Caller {
        self.caller
    }
}

impl<S: Unpin> Connected for Known<S> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Known<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.changed.poll_unpin(context).is_ready() {
            self.over = true;
        }
        if self.over {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Known<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connects to any agent of the realm.
pub(super) async fn connect(
    address: &Url,
    identities: Identities,
) -> io::Result<Known<client::TlsStream<TcpStream>>> {
    let Some(identity) = identities.borrow().clone() else {
        return Err(io::Error::other(
            "this agent's HSM has not told it who it is: it does not answer, or has no realm yet",
        ));
    };
    let stream = tls(address, identity.client()).await?;
    let caller = identity.caller(stream.get_ref().1);
    let caller = caller.ok_or_else(|| io::Error::other("no agent's certificate"))?;
    Ok(Known::new(stream, caller, identity.who(), identities, None))
}

/// Connects with this certificate.
pub(crate) async fn tls(
    address: &Url,
    config: Arc<ClientConfig>,
) -> io::Result<client::TlsStream<TcpStream>> {
    let nowhere = || io::Error::other("an address is `https://host:port`");
    let port = address.port_or_known_default().ok_or_else(nowhere)?;
    let (stream, name) = match address.host().ok_or_else(nowhere)? {
        Host::Domain(name) => {
            let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            (TcpStream::connect((name, port)).await?, server)
        }
        Host::Ipv4(ip) => (TcpStream::connect((ip, port)).await?, IpAddr::V4(ip).into()),
        Host::Ipv6(ip) => (TcpStream::connect((ip, port)).await?, IpAddr::V6(ip).into()),
    };
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, stream).await.map_err(explained)
}

/// What an operator can do about a handshake that failed.
fn explained(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let unknown = |alert| matches!(alert, AlertDescription::UnknownCA | AlertDescription::BadCertificate);
    let why = match (error.kind(), tls) {
        (_, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))) => OTHER_EPOCH,
        (_, Some(rustls::Error::AlertReceived(alert))) if unknown(*alert) => OTHER_EPOCH,
        (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset, _) => {
            "its HSM does not answer it, or has no realm yet"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{why} ({error})"))
}

const OTHER_EPOCH: &str = "its certificate is from another realm, or from an epoch that is not next to this one: `peer_epoch` differs \
                           by more than one, or was raised since the certificate was made";

type Incoming = io::Result<Known<server::TlsStream<TcpStream>>>;

/// Accepts connections from those who prove within `time` that they know the realm. Call it inside a runtime; it stops
/// with the runtime.
pub(crate) fn accept(
    listener: TcpListener,
    identities: Identities,
    refused: Refused,
    time: Duration,
) -> ReceiverStream<Incoming> {
    let (known, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        let (handshakes, connections) = (Places::default(), Places::default());
        loop {
            let (stream, address) = next(&listener).await;
            let Some(handshake) = handshakes.take(address, HANDSHAKES_OF_ONE, HANDSHAKES) else {
                refused.note(Reason::Busy, address, &"too many at once from that address");
                continue;
            };
            let (identities, refused) = (identities.clone(), refused.clone());
            let shake = shake(stream, address, identities, refused, connections.clone(), time);
            let known = known.clone();
            tokio::spawn(async move {
                if let Some(connection) = shake.await {
                    // An error means that the service is ending.
                    let _ = known.send(Ok(connection)).await;
                }
                drop(handshake);
            });
        }
    });
    ReceiverStream::new(incoming)
}

async fn shake(
    stream: TcpStream,
    address: IpAddr,
    identities: Identities,
    refused: Refused,
    connections: Places<Caller>,
    time: Duration,
) -> Option<Known<server::TlsStream<TcpStream>>> {
    let Some(identity) = identities.borrow().clone() else {
        refused.note(Reason::NoRealm, address, &"this agent's HSM has not reported a realm yet");
        return None;
    };
    let stream = match timeout(time, TlsAcceptor::from(identity.server()).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            refused.note(Reason::Handshake, address, &explained(error));
            return None;
        }
        Err(_) => {
            refused.note(Reason::Handshake, address, &"it took too long");
            return None;
        }
    };
    let Some(caller) = identity.caller(stream.get_ref().1) else {
        refused.note(Reason::Handshake, address, &"neither an agent's nor an operator's certificate");
        return None;
    };
    let Some(place) = connections.take(caller, CONNECTIONS_OF_ONE, CONNECTIONS) else {
        refused.note(Reason::Busy, address, &"it has too many connections already");
        return None;
    };
    Some(Known::new(stream, caller, identity.who(), identities, Some(place)))
}
