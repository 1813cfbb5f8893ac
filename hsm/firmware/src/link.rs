//! The link to the agent: frames of [`strongroom_proto::frame`] over a carrier of bytes.
//!
//! The agent is not trusted. A carrier has no connections, so nothing on it says that an agent went away in the middle
//! of a frame and that another one begins. Silence says it: an agent sends one frame and waits for the answer, so a
//! frame that stays incomplete for [`QUIET_MS`] is forgotten, and after one that is too long everything is forgotten,
//! until the line has been quiet for that long. Replies carry the id of their request, so an agent discards what was
//! not meant for it.

use alloc::vec::Vec;
use strongroom_proto::frame::{Decoder, Frame, MAX_FRAME_BYTES};

/// Silence after which the next byte begins a frame, in milliseconds. Less than an agent waits for a reply.
pub const QUIET_MS: u64 = 200;

/// Something that carries bytes.
pub trait Carrier {
    /// Takes what has arrived, at most `out.len()` bytes, or 0 if nothing has. Does not wait.
    fn read(&mut self, out: &mut [u8]) -> usize;
    /// Sends all of `bytes`.
    fn write(&mut self, bytes: &[u8]);
    /// A clock that only goes forward, in milliseconds.
    fn now_ms(&mut self) -> u64;
    /// Sleeps until bytes arrive, at most until the clock says `until`.
    fn sleep(&mut self, until: Option<u64>);
}

/// The firmware's side of the link.
pub struct Link<C> {
    carrier: C,
    decoder: Decoder,
    /// A frame was too long; there is no telling where the next one begins.
    lost: bool,
    heard_ms: u64,
    buffer: [u8; 1024],
}

impl<C: Carrier> Link<C> {
    /// A link that takes frames of up to `limit` bytes.
    pub fn new(carrier: C, limit: u32) -> Self {
        let mut decoder = Decoder::new(limit);
        // All the memory that frames will ever take.
        decoder.recycle(Vec::with_capacity(limit.min(MAX_FRAME_BYTES) as usize));
        Self { carrier, decoder, lost: false, heard_ms: 0, buffer: [0; 1024] }
    }

    /// Answers what has arrived. When nothing has, calls `quiet` if the line has gone quiet after some work, and
    /// sleeps.
    pub fn step(&mut self, mut handle: impl FnMut(&[u8]) -> Vec<u8>, quiet: impl FnOnce()) {
        let read = self.carrier.read(&mut self.buffer);
        if read > 0 {
            if !self.lost {
                self.take(read, &mut handle);
            }
            // After the work, so that the time it took does not count as silence.
            self.heard_ms = self.carrier.now_ms();
            return;
        }
        if self.heard_ms == 0 {
            return self.carrier.sleep(None);
        }
        let quiet_at = self.heard_ms + QUIET_MS;
        if self.carrier.now_ms() < quiet_at {
            return self.carrier.sleep(Some(quiet_at));
        }
        self.heard_ms = 0;
        self.lost = false;
        self.decoder.restart();
        quiet();
    }

    fn take(&mut self, read: usize, handle: &mut impl FnMut(&[u8]) -> Vec<u8>) {
        let Self { carrier, decoder, buffer, .. } = self;
        let mut input = buffer.get(..read).unwrap_or_default();
        loop {
            match decoder.push(&mut input) {
                Ok(Some(request)) => {
                    let reply = handle(&request.payload);
                    if let Ok(header) = Frame::header(request.request_id, &reply, MAX_FRAME_BYTES) {
                        carrier.write(&header);
                        carrier.write(&reply);
                    }
                    decoder.recycle(request.payload);
                }
                Ok(None) => return,
                Err(_) => {
                    self.lost = true;
                    return;
                }
            }
        }
    }

    /// The carrier.
    pub fn carrier(&mut self) -> &mut C {
        &mut self.carrier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    /// What arrives, and when; and what was sent.
    #[derive(Default)]
    struct Wire {
        now_ms: u64,
        arriving: VecDeque<(u64, Vec<u8>)>,
        sent: Vec<u8>,
    }

    impl Carrier for Wire {
        fn read(&mut self, out: &mut [u8]) -> usize {
            let Some((at, bytes)) = self.arriving.front_mut() else { return 0 };
            if *at > self.now_ms {
                return 0;
            }
            let taken = bytes.len().min(out.len());
            out[..taken].copy_from_slice(&bytes[..taken]);
            bytes.drain(..taken);
            if bytes.is_empty() {
                self.arriving.pop_front();
            }
            taken
        }

        fn write(&mut self, bytes: &[u8]) {
            self.sent.extend_from_slice(bytes);
        }

        fn now_ms(&mut self) -> u64 {
            self.now_ms
        }

        fn sleep(&mut self, until: Option<u64>) {
            let arrival = self.arriving.front().map(|(at, _)| *at);
            self.now_ms =
                [until, arrival].into_iter().flatten().min().unwrap_or(self.now_ms).max(self.now_ms);
        }
    }

    /// What the firmware sends when these bytes arrive at these times; it answers a request with its bytes reversed.
    fn answers(limit: u32, arriving: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Vec<(u32, Vec<u8>)> {
        let wire = Wire { now_ms: 1, arriving: arriving.into_iter().collect(), sent: Vec::new() };
        let mut link = Link::new(wire, limit);
        while !link.carrier.arriving.is_empty() {
            link.step(|request| request.iter().rev().copied().collect(), || {});
        }
        let (mut decoder, mut answers) = (Decoder::new(MAX_FRAME_BYTES), Vec::new());
        let mut input = link.carrier.sent.as_slice();
        while let Some(frame) = decoder.push(&mut input).expect("frames") {
            answers.push((frame.request_id, frame.payload));
        }
        answers
    }

    fn frame(id: u32, payload: &[u8]) -> Vec<u8> {
        Frame::encode(id, payload, MAX_FRAME_BYTES).expect("short")
    }

    #[test]
    fn each_request_is_answered_under_its_id_however_the_bytes_arrive() {
        let bytes = [frame(1, b"abc"), frame(2, b""), frame(3, &[7; 3000])].concat();
        for step in [1, 3, 1000, 5000] {
            let pieces = (2..).zip(bytes.chunks(step)).map(|(at, piece)| (at, piece.to_vec()));
            let got = answers(3000, pieces.collect::<Vec<_>>());
            assert_eq!(got, [(1, b"cba".to_vec()), (2, vec![]), (3, vec![7; 3000])]);
        }
    }

    #[test]
    fn half_a_frame_is_forgotten_when_the_line_was_quiet() {
        let half = frame(1, &[1; 100])[..50].to_vec();
        let got = answers(200, [(5, half.clone()), (6 + QUIET_MS, frame(2, b"ab"))]);
        assert_eq!(got, [(2, b"ba".to_vec())]);
        // Without the silence the second frame is taken for the rest of the first.
        assert_ne!(answers(200, [(5, half), (6, frame(2, b"ab"))]).first(), Some(&(2, b"ba".to_vec())));
    }

    #[test]
    fn after_a_frame_that_is_too_long_all_is_forgotten_until_the_line_was_quiet() {
        let long = frame(1, &[0; 300]);
        let got = answers(200, [(5, long.clone()), (6, frame(2, b"ab")), (7 + QUIET_MS, frame(3, b"cd"))]);
        assert_eq!(got, [(3, b"dc".to_vec())]);
    }
}
