//! Just enough of the GDB remote serial protocol to stop the emulator at each write to the flash.

use crate::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The commands to stop at writes to the board's NVRAM, and to no longer do so.
const WATCH: &str = "Z2,22000000,800000";
const IGNORE: &str = "z2,22000000,800000";
const STEP: &str = "s";
const PATIENCE: Duration = Duration::from_secs(60);

/// A debugger.
pub(super) struct Gdb(UnixStream);

impl Gdb {
    /// Arguments of the emulator that let a debugger connect here.
    pub(super) fn arguments(socket: &Path) -> Vec<String> {
        let chardev = format!("socket,id=gdb,path={},server=on,wait=off", socket.display());
        ["-chardev", &chardev, "-gdb", "chardev:gdb"].map(String::from).to_vec()
    }

    /// Stops the emulator, and makes it stop at each write to NVRAM once it goes on.
    pub(super) fn attach(stream: UnixStream) -> Result<Self, Error> {
        let mut gdb = Self(stream);
        gdb.0.set_read_timeout(Some(PATIENCE))?;
        gdb.tell(WATCH, "OK")?;
        Ok(gdb)
    }

    /// Sends a command, and waits until it is acknowledged; the emulator may report before that that it has stopped.
    fn tell(&mut self, command: &str, done: &str) -> Result<(), Error> {
        self.send(command)?;
        loop {
            match self.packet(PATIENCE)?.as_deref() {
                Some(packet) if packet.starts_with(done) => return Ok(()),
                Some(packet) if packet.starts_with('T') => {}
                other => return Err(format!("the emulator answers {other:?} to {command}").into()),
            }
        }
    }

    /// Lets it go on.
    pub(super) fn go(&mut self) -> Result<(), Error> {
        self.send("c")
    }

    /// Waits until it stops, right after a write; `None` if it does not within this time.
    pub(super) fn stop(&mut self, patience: Duration) -> Result<Option<()>, Error> {
        match self.packet(patience)? {
            None => return Ok(None),
            Some(packet) if packet.starts_with('T') => {}
            Some(other) => return Err(format!("the emulator did not stop but said {other}").into()),
        }
        // It stops before the write, and would stop there again.
        self.tell(IGNORE, "OK")?;
        self.tell(STEP, "T")?;
        self.tell(WATCH, "OK")?;
        Ok(Some(()))
    }

    fn send(&mut self, body: &str) -> Result<(), Error> {
        let sum = body.bytes().fold(0_u8, u8::wrapping_add);
        Ok(self.0.write_all(format!("${body}#{sum:02x}").as_bytes())?)
    }

    /// `$body#sum`; what comes before the `$` are acknowledgements.
    fn packet(&mut self, patience: Duration) -> Result<Option<String>, Error> {
        self.0.set_read_timeout(Some(patience))?;
        let (mut body, mut begun) = (Vec::new(), false);
        loop {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(0) => return Err("the emulator is gone".into()),
                Ok(_) => {}
                Err(error)
                    if !begun && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
            match byte[0] {
                b'$' => begun = true,
                b'#' if begun => break,
                byte if begun => body.push(byte),
                _ => {}
            }
        }
        self.0.read_exact(&mut [0; 2])?;
        self.0.write_all(b"+")?;
        Ok(Some(String::from_utf8(body)?))
    }
}
