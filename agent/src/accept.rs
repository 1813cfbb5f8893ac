//! The next connection of a listener: what the front door, the peers and the metrics do alike.

use std::net::IpAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long to wait after the system refused to give a connection, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits for a connection, through failures of the system. May be dropped at any time without losing one.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // A failure costs only latency.
                let _ = stream.set_nodelay(true);
                return (stream, address.ip());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit on open files");
                sleep(PAUSE).await;
            }
        }
    }
}
