//! A link to a board that waits for each answer.

use crate::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use strongroom_proto::frame::{Decoder, Frame, MAX_FRAME_BYTES};

/// How long a board may take to answer: many times what it does take, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Wire {
    stream: UnixStream,
    decoder: Decoder,
    next: u32,
}

impl Wire {
    /// Over the link of an emulator.
    ///
    /// # Errors
    /// It is not an open socket.
    pub(super) fn new(stream: UnixStream) -> Result<Self, Error> {
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, decoder: Decoder::new(MAX_FRAME_BYTES), next: 0 })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The board is gone, or accepts nothing for too long.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<(), Error> {
        self.next = self.next.wrapping_add(1);
        self.stream.write_all(&Frame::encode(self.next, request, MAX_FRAME_BYTES)?)?;
        Ok(())
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// As for [`Self::send`]; there is no answer for too long, or something that is not one.
    pub(super) fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        self.send(request)?;
        self.poll(PATIENCE)?.ok_or_else(|| "no answer".into())
    }

    /// Waits for the answer to what was sent; `None` if nothing arrives within this time.
    ///
    /// # Errors
    /// The board is gone; something that is not an answer arrived.
    pub(super) fn poll(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, Error> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 4096];
        loop {
            let read = match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the board halted".into()),
                Ok(read) => read,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut input = &buffer[..read];
            if let Some(frame) = self.decoder.push(&mut input)? {
                let is_answer = frame.request_id == self.next && input.is_empty();
                return if is_answer {
                    Ok(Some(frame.payload))
                } else {
                    Err("an answer to nothing asked".into())
                };
            }
        }
    }
}
