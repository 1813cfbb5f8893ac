//! How many instructions this thread has executed, where the kernel lets a program read the processor's counters.

#[cfg(target_os = "linux")]
use perf_event::{Builder, CountAndTime, Counter};

/// What counts instructions: the whole number so far, or nothing if some went uncounted.
pub(super) type Count<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// A counter of this thread's instructions in user mode, and whatever a kernel does not count for it.
#[cfg(target_os = "linux")]
pub(super) struct Instructions(Counter);

#[cfg(target_os = "linux")]
impl Instructions {
    /// Begins to count.
    ///
    /// # Errors
    /// Why nothing can be counted, and what to do.
    pub(super) fn begin() -> Result<Self, String> {
        let begun = Builder::new().build().and_then(|mut counter| counter.enable().map(|()| counter));
        let mut this = Self(begun.map_err(|error| why(&error))?);
        // Some virtual machines have a counter that stands still.
        let before = this.so_far();
        std::hint::black_box((0..1000_u32).map(std::hint::black_box).sum::<u32>());
        if this.so_far() > before { Ok(this) } else { Err(STANDS_STILL.into()) }
    }

    /// How many there were since. Nothing if others had the processor's counters for a while.
    pub(super) fn so_far(&mut self) -> Option<u64> {
        let CountAndTime { count, time_enabled, time_running } = self.0.read_count_and_time().ok()?;
        (time_enabled == time_running).then_some(count)
    }
}

#[cfg(target_os = "linux")]
const STANDS_STILL: &str = "the processor's counter of instructions stands still";

#[cfg(target_os = "linux")]
fn why(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        // Not an unknown file, but an unknown event.
        ErrorKind::NotFound | ErrorKind::Unsupported => {
            "the kernel has no counter of instructions here, as in most virtual machines".into()
        }
        ErrorKind::PermissionDenied => {
            "the kernel lets no program count its own instructions; allow it with `sysctl kernel.perf_event_paranoid=2`"
                .into()
        }
        _ => format!("the kernel's counters cannot be read: {error}"),
    }
}

/// What counts nothing.
#[cfg(not(target_os = "linux"))]
pub(super) enum Instructions {}

#[cfg(not(target_os = "linux"))]
impl Instructions {
    pub(super) fn begin() -> Result<Self, String> {
        Err("instructions are counted on Linux alone".into())
    }

    pub(super) fn so_far(&mut self) -> Option<u64> {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::io::{Error, ErrorKind};

    #[test]
    fn more_work_is_more_instructions_or_it_is_said_why_none_are_counted() {
        let mut counter = match Instructions::begin() {
            Ok(counter) => counter,
            Err(why) => return assert!(!why.is_empty()),
        };
        let mut of = |turns: u64| {
            let before = counter.so_far()?;
            black_box((0..turns).map(black_box).fold(0, u64::wrapping_add));
            counter.so_far()?.checked_sub(before)
        };
        // Where others have the counters, there is nothing to compare.
        if let (Some(little), Some(much)) = (of(1_000), of(1_000_000)) {
            assert!(little >= 1_000 && much > 100 * little, "{little} {much}");
        }
    }

    #[test]
    fn who_may_not_count_is_told_what_to_do() {
        assert!(why(&ErrorKind::PermissionDenied.into()).contains("perf_event_paranoid"));
        assert!(why(&Error::from_raw_os_error(2)).contains("virtual machines"));
        assert!(why(&Error::from_raw_os_error(95)).contains("virtual machines"));
        assert!(why(&Error::from_raw_os_error(24)).contains("os error 24"));
    }
}
