//! What goes along with a request: its id, the span that it came from, and whether it is traced (W3C Trace Context).

use axum::http::HeaderMap;
use std::fmt;

/// The header of <https://www.w3.org/TR/trace-context/>.
pub const TRACE_HEADER: &str = "traceparent";

/// The id of a request: that of its trace. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId {
    high: u64,
    low: u64,
}

impl RequestId {
    /// The id of these halves.
    #[must_use]
    pub const fn new(high: u64, low: u64) -> Self {
        // All zeros is no id.
        if high == 0 && low == 0 { Self { high, low: 1 } } else { Self { high, low } }
    }

    /// The first half.
    #[must_use]
    pub const fn high(self) -> u64 {
        self.high
    }

    /// The second half.
    #[must_use]
    pub const fn low(self) -> u64 {
        self.low
    }

    /// The id that is written like this: 32 lower-case hexadecimal digits, not all of them 0.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (high, low) = text.split_at_checked(16).filter(|_| text.len() == 32 && is_hex(text))?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let (high, low) = (number(high)?, number(low)?);
        ((high, low) != (0, 0)).then(|| Self::new(high, low))
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        [self.high.to_be_bytes(), self.low.to_be_bytes()].concat()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

/// What goes along with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trail {
    /// Its id.
    pub request: RequestId,
    /// The span that it came from, 0 for none.
    pub parent: u64,
    /// Whether it is traced.
    pub sampled: bool,
}

impl Trail {
    /// A request that is not traced.
    #[must_use]
    pub const fn unsampled(request: RequestId) -> Self {
        Self { request, parent: 0, sampled: false }
    }

    /// As the value of [`TRACE_HEADER`].
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.request, self.parent, u8::from(self.sampled))
    }
}

/// The id of the trace and of the span from which a client sends its request. That it wants it sampled is ignored.
pub(super) fn caller(headers: &HeaderMap) -> Option<(RequestId, u64)> {
    let mut values = headers.get_all(TRACE_HEADER).iter();
    let value = values.next()?.to_str().ok()?;
    // Two of them are none.
    if values.next().is_some() {
        return None;
    }
    let mut parts = value.split('-');
    let mut next = |digits| parts.next().filter(|part| part.len() == digits && is_hex(part));
    let (version, trace, span, _) = (next(2)?, next(32)?, next(16)?, next(2)?);
    // A later version may have more parts.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (request, span) = (RequestId::read(trace)?, u64::from_str_radix(span, 16).ok()?);
    (span != 0).then_some((request, span))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn read(values: &[&str]) -> Option<(String, u64)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACE_HEADER, value.parse().expect("text"));
        }
        caller(&headers).map(|(trace, span)| (trace.to_string(), span))
    }

    #[test]
    fn what_a_client_sends_is_read_by_the_rules_of_trace_context() {
        let whole = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(read(&[&whole]), Some((TRACE.into(), 0x00f0_67aa_0ba9_02b7)));
        assert!(read(&[&format!("01-{TRACE}-00f067aa0ba902b7-01-more")]).is_some(), "of a later version");
        for wrong in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", &TRACE[1..]),
            format!("00-+{}-00f067aa0ba902b7-01", &TRACE[1..]),
            format!(" {whole}"),
        ] {
            assert_eq!(read(&[&wrong]), None, "{wrong:?}");
        }
        assert_eq!(read(&[&whole, &whole]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_trail_is_written_as_it_is_read() {
        let trail = Trail { request: RequestId::new(1, 2), parent: 3, sampled: true };
        let text = trail.header();
        assert_eq!(text, "00-00000000000000010000000000000002-0000000000000003-01");
        assert_eq!(read(&[&text]), Some((trail.request.to_string(), 3)));
    }
}
