//! The one frame format of the link between an agent and its HSM, on every carrier: Unix socket, TCP, serial console.
//!
//! | Bytes | What |
//! |---|---|
//! | 4 | length of the payload, big-endian |
//! | 4 | request id, big-endian: the agent chooses it, the reply repeats it |
//! | length | payload |
//!
//! Does no I/O: bytes that arrived go in, frames come out. The sender is not trusted; a receiver states its own limit
//! and never holds more than that. An agent has to know the limit of its HSM (`DeviceStatus`) before it sends.

use alloc::vec::Vec;
use core::fmt;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;

/// The most bytes of payload that any receiver may allow itself. Each states a limit of its own, up to this.
pub const MAX_FRAME_BYTES: u32 = 16 << 20;

/// One request or one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Chosen by the agent, repeated in the reply.
    pub request_id: u32,
    /// A request or a reply of [`crate::hsm`].
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame as bytes to send.
    ///
    /// # Errors
    /// The payload is longer than `limit` bytes or than [`MAX_FRAME_BYTES`]; nothing may be sent.
    pub fn encode(request_id: u32, payload: &[u8], limit: u32) -> Result<Vec<u8>, FrameTooLong> {
        let header = Self::header(request_id, payload, limit)?;
        let mut out = Vec::with_capacity(payload.len().saturating_add(HEADER_BYTES));
        out.extend(header);
        out.extend_from_slice(payload);
        Ok(out)
    }

    /// What to send before `payload`, for a sender that has no room for a copy of it.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn header(request_id: u32, payload: &[u8], limit: u32) -> Result<[u8; HEADER_BYTES], FrameTooLong> {
        let limit = limit.min(MAX_FRAME_BYTES);
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if len > limit {
            return Err(FrameTooLong { len, limit });
        }
        let ([l3, l2, l1, l0], [i3, i2, i1, i0]) = (len.to_be_bytes(), request_id.to_be_bytes());
        Ok([l3, l2, l1, l0, i3, i2, i1, i0])
    }
}

/// Puts frames together from bytes as they arrive. Holds at most one frame.
#[derive(Debug)]
pub struct Decoder {
    limit: u32,
    state: State,
    spare: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Header { bytes: [u8; HEADER_BYTES], have: usize },
    Payload { frame: Frame, len: usize },
    Failed(FrameTooLong),
}

const START: State = State::Header { bytes: [0; HEADER_BYTES], have: 0 };

impl Decoder {
    /// A decoder for payloads of up to `limit` bytes, and never more than [`MAX_FRAME_BYTES`].
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self {
            limit: if limit < MAX_FRAME_BYTES { limit } else { MAX_FRAME_BYTES },
            state: START,
            spare: Vec::new(),
        }
    }

    /// Takes back the memory of a payload, for the next one. A device that is short of memory then needs no other.
    pub fn recycle(&mut self, payload: Vec<u8>) {
        self.spare = payload;
        self.spare.clear();
    }

    /// Forgets an incomplete frame, and that a frame was too long: what comes next begins a frame. For a carrier that
    /// has another way to tell where frames begin.
    pub fn restart(&mut self) {
        if let State::Payload { frame, .. } = core::mem::replace(&mut self.state, START) {
            self.recycle(frame.payload);
        }
    }

    /// Takes bytes from the front of `input` up to the end of a frame, and returns that frame; or takes all of `input`
    /// and returns `None` when the frame is not complete. Call it until it returns `None`.
    ///
    /// # Errors
    /// The sender announced a frame longer than the limit. There is no way to find the next frame: close the link.
    /// Every later call gives the same error.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameTooLong> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(*error),
                State::Header { bytes, have } => {
                    let room = bytes.get_mut(*have..).unwrap_or_default();
                    let taken = take(input, room.len());
                    room.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
                    *have = have.saturating_add(taken.len());
                    if *have < HEADER_BYTES {
                        return Ok(None);
                    }
                    let bytes = *bytes;
                    self.begin(bytes);
                }
                State::Payload { frame, len } => {
                    let missing = len.saturating_sub(frame.payload.len());
                    frame.payload.extend_from_slice(take(input, missing));
                    if frame.payload.len() < *len {
                        return Ok(None);
                    }
                    let State::Payload { frame, .. } = core::mem::replace(&mut self.state, START) else {
                        return Ok(None);
                    };
                    return Ok(Some(frame));
                }
            }
        }
    }

    /// Whether bytes of an incomplete frame are held: the end of the stream now would cut a frame short.
    #[must_use]
    pub const fn is_mid_frame(&self) -> bool {
        match &self.state {
            State::Header { have, .. } => *have > 0,
            State::Payload { .. } => true,
            State::Failed(_) => false,
        }
    }

    fn begin(&mut self, header: [u8; HEADER_BYTES]) {
        let [l3, l2, l1, l0, i3, i2, i1, i0] = header;
        let len = u32::from_be_bytes([l3, l2, l1, l0]);
        self.state = match usize::try_from(len) {
            Ok(size) if len <= self.limit => {
                let request_id = u32::from_be_bytes([i3, i2, i1, i0]);
                let mut payload = core::mem::take(&mut self.spare);
                payload.reserve_exact(size);
                State::Payload { frame: Frame { request_id, payload }, len: size }
            }
            _ => State::Failed(FrameTooLong { len, limit: self.limit }),
        };
    }
}

fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(most).unwrap_or((*input, &[]));
    *input = rest;
    taken
}

/// A frame is longer than its receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong {
    /// Bytes of payload in the frame.
    pub len: u32,
    /// The most that the receiver takes.
    pub limit: u32,
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, limit } = self;
        write!(
            f,
            "a frame of {len} bytes is longer than the receiver's limit of {limit}: send smaller batches"
        )
    }
}

impl core::error::Error for FrameTooLong {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn decode_all(limit: u32, pieces: &[&[u8]]) -> Result<Vec<Frame>, FrameTooLong> {
        let mut decoder = Decoder::new(limit);
        let mut frames = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(frame) = decoder.push(&mut input)? {
                frames.push(frame);
            }
            assert!(input.is_empty());
        }
        Ok(frames)
    }

    #[test]
    fn a_frame_is_its_length_its_request_id_and_its_payload() {
        let bytes = Frame::encode(0x0102_0304, b"abc", 3).unwrap();
        assert_eq!(bytes, [0, 0, 0, 3, 1, 2, 3, 4, b'a', b'b', b'c']);
    }

    #[test]
    fn a_frame_at_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(Frame::encode(1, &[0; 17], 16), Err(FrameTooLong { len: 17, limit: 16 }));
        let bytes = Frame::encode(1, &[0; 17], 17).unwrap();
        assert_eq!(decode_all(17, &[&bytes]).unwrap().len(), 1);
        assert_eq!(decode_all(16, &[&bytes]), Err(FrameTooLong { len: 17, limit: 16 }));
        assert_eq!(
            decode_all(u32::MAX, &[&[0xff; 8]]),
            Err(FrameTooLong { len: u32::MAX, limit: MAX_FRAME_BYTES })
        );
    }

    #[test]
    fn a_decoder_that_met_a_long_frame_stays_failed() {
        let mut decoder = Decoder::new(4);
        let error = decoder.push(&mut [0, 0, 0, 5, 0, 0, 0, 1].as_slice()).unwrap_err();
        let good = Frame::encode(1, b"ok", 4).unwrap();
        assert_eq!(decoder.push(&mut good.as_slice()), Err(error));
    }

    #[test]
    fn a_decoder_knows_whether_it_is_in_the_middle_of_a_frame() {
        let bytes = Frame::encode(9, b"abc", 8).unwrap();
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new(8);
            let whole = decoder.push(&mut &bytes[..cut]).unwrap().is_some();
            assert_eq!(decoder.is_mid_frame(), cut != 0 && !whole);
        }
    }

    #[test]
    fn a_decoder_uses_the_memory_that_it_was_given_back() {
        let mut decoder = Decoder::new(64);
        decoder.recycle(Vec::with_capacity(64));
        let place = decoder.spare.as_ptr();
        for len in [1, 64, 0, 17] {
            let bytes = Frame::encode(1, &vec![7; len], 64).unwrap();
            let frame = decoder.push(&mut bytes.as_slice()).unwrap().unwrap();
            assert_eq!((frame.payload.as_ptr(), frame.payload.len()), (place, len));
            decoder.recycle(frame.payload);
        }
    }

    #[test]
    fn a_decoder_that_is_restarted_takes_the_next_byte_for_the_first_of_a_frame() {
        let good = Frame::encode(3, b"whole", 8).unwrap();
        for before in [&good[..good.len() - 1], &good[..3], &[0xff; 8]] {
            let mut decoder = Decoder::new(8);
            let _ = decoder.push(&mut &before[..]);
            decoder.restart();
            assert!(!decoder.is_mid_frame());
            assert_eq!(decoder.push(&mut good.as_slice()).unwrap().unwrap().payload, b"whole");
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in prop::collection::vec(1usize..23, 1..8),
        ) {
            let frames: Vec<Frame> = (0u32..).zip(payloads).map(|(request_id, payload)| Frame { request_id, payload }).collect();
            let stream: Vec<u8> =
                frames.iter().flat_map(|f| Frame::encode(f.request_id, &f.payload, 40).unwrap()).collect();
            let mut rest = stream.as_slice();
            let mut pieces = vec![];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                pieces.push(take(&mut rest, *cut));
            }
            prop_assert_eq!(decode_all(40, &pieces).unwrap(), frames);
        }

        #[test]
        fn a_decoder_never_holds_more_than_its_limit(stream in prop::collection::vec(any::<u8>(), 0..200), limit in 0u32..64) {
            let mut decoder = Decoder::new(limit);
            let mut input = stream.as_slice();
            while let Ok(Some(frame)) = decoder.push(&mut input) {
                prop_assert!(frame.payload.capacity() <= limit as usize);
            }
            if let State::Payload { frame, .. } = &decoder.state {
                prop_assert!(frame.payload.capacity() <= limit as usize);
            }
        }
    }
}
