//! The admin socket: a Unix socket that only the agent's user can open.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket, in bytes: `sun_path` without its terminator (unix(7)).
const MAX_PATH: usize = 107;
/// The name under which the socket is made, in a folder with a short name of its own.
const MADE: &str = "s";
const FOLDER: &str = ".sr";

/// Why the admin socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the admin socket {}: {message}", path.display())]
pub struct AdminSocketError {
    path: PathBuf,
    message: String,
}

/// The admin socket, listening.
#[derive(Debug)]
pub(super) struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    removed: bool,
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file. If it stays, the next start finds that nothing listens behind it.
    pub(super) fn remove(&mut self) {
        if !std::mem::replace(&mut self.removed, true) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Leaves the file, as a crash does.
    pub(super) const fn leave(&mut self) {
        self.removed = true;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

impl AdminSocket {
    /// Takes the place of a socket that nothing listens on.
    pub(super) fn bind(path: &Path) -> Result<Self, AdminSocketError> {
        let failed = |message: String| AdminSocketError { path: path.into(), message };
        let cannot = |error: io::Error| {
            failed(format!(
                "{error}; set admin_socket to a path in a folder where the agent's user may write"
            ))
        };
        check_place(path).map_err(failed)?;
        // Made in a folder that no other user can enter, so that others can never open it, whatever the umask.
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let private = tempfile::Builder::new()
            .prefix(FOLDER)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(folder)
            .map_err(cannot)?;
        let made = private.path().join(MADE);
        let longest = path.as_os_str().len().max(made.as_os_str().len());
        if longest > MAX_PATH {
            let over = longest - MAX_PATH;
            return Err(failed(format!(
                "the path is {over} bytes too long for a socket; set admin_socket to a shorter one, such as \
                 /run/strongroom/agent.sock"
            )));
        }
        let listener = UnixListener::bind(&made).map_err(cannot)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        fs::rename(&made, path).map_err(cannot)?;
        Ok(Self { listener, file: SocketFile { path: path.into(), removed: false } })
    }

    /// Call it inside a runtime.
    pub(super) fn listener(self) -> io::Result<(tokio::net::UnixListener, SocketFile)> {
        Ok((tokio::net::UnixListener::from_std(self.listener)?, self.file))
    }
}

/// Whether the path is free, or a socket that an agent left behind.
fn check_place(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(there) if !there.file_type().is_socket() => {
            Err("something else is there; remove it, or set admin_socket to another path".into())
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err("another agent answers there; is this one running already?".into()),
            Err(_) => Ok(()),
        },
    }
}
