//! The next connection of a listener: shared by the front door, the peers and the metrics.

use std::net::IpAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long to wait after the system refused a connection, most likely because file descriptors ran out.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits for a connection, and keeps trying if the system fails. May be dropped at any time without losing one.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // A failed option costs only latency.
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
