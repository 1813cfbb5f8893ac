//! The sockets of the link between an agent and its HSM. There is no authentication on it: what an HSM answers is
//! safe to show to anyone, and what it is asked it checks. Availability is the business of who may connect, so a
//! Unix socket is open to its user only.

use crate::{Address, Error};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds `address`. A socket file that no one listens on any more is replaced, so hold the lock of the NVRAM file
    /// first: an HSM that is only starting has none yet.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::Listen`].
    pub fn bind(address: &Address) -> Result<Self, Error> {
        let bound = match address {
            Address::Unix(path) => bind_unix(path).map(|socket| (Socket::Unix(socket), address.clone())),
            Address::Tcp(host) => bind_tcp(host),
        };
        let (socket, address) = bound.map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => Error::AddressInUse { address: address.clone() },
            _ => Error::Listen { address: address.clone(), source },
        })?;
        Ok(Self { socket, address })
    }

    /// The address, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn accept(&self) -> io::Result<Stream> {
        Ok(match &self.socket {
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(false)?;
                Stream::Unix(stream)
            }
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // If it stays, the next start finds no one behind it.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match UnixStream::connect(path) {
            Ok(_) => return Err(ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(socket)
}

fn bind_tcp(host: &str) -> io::Result<(Socket, Address)> {
    let socket = TcpListener::bind(host)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "anyone who reaches this address can use this HSM: keep it behind a firewall");
    }
    Ok((Socket::Tcp(socket), Address::Tcp(address.to_string())))
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    /// Ends the connection for all its clones. A peer may be gone already.
    pub(crate) fn close(&self) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
