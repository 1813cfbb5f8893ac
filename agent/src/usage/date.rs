//! Days and months, in UTC.

use minicbor::{Decode, Encode};
use std::fmt;
use std::str::FromStr;
use time::OffsetDateTime;

/// A month of the Gregorian calendar, in UTC: `2026-11`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct Month {
    #[n(0)]
    year: u16,
    #[n(1)]
    month: u8,
}

/// A day of the Gregorian calendar, in UTC: `2026-11-30`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct Day {
    #[n(0)]
    month: Month,
    #[n(1)]
    day: u8,
}

/// A text is no month.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a month is a year and a month, such as 2026-11")]
pub struct NoMonth;

impl Day {
    /// The day of a moment, in Unix seconds.
    #[must_use]
    pub fn at(unix_s: u64) -> Self {
        let at = i64::try_from(unix_s).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        let (year, month, day) = at.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_calendar_date();
        let year = u16::try_from(year).unwrap_or(u16::MAX);
        Self { month: Month { year, month: month.into() }, day }
    }

    /// This day of a month; `None` if it is from no calendar.
    #[must_use]
    pub fn of(month: Month, day: u8) -> Option<Self> {
        Some(Self { month, day }).filter(Self::is_possible)
    }

    /// Its month.
    #[must_use]
    pub const fn month(&self) -> Month {
        self.month
    }

    pub(super) fn is_possible(&self) -> bool {
        self.month.is_possible() && (1..=31).contains(&self.day)
    }
}

impl Month {
    fn is_possible(self) -> bool {
        self.year <= 9999 && (1..=12).contains(&self.month)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:02}", self.month, self.day)
    }
}

impl FromStr for Month {
    type Err = NoMonth;

    fn from_str(text: &str) -> Result<Self, NoMonth> {
        let (year, month) = text.split_once('-').ok_or(NoMonth)?;
        let read =
            |year: &str, month: &str| Some(Self { year: year.parse().ok()?, month: month.parse().ok()? });
        // The one way to write it, and nothing after it.
        let month = read(year, month).filter(|month| month.to_string() == text);
        month.filter(|month| month.is_possible()).ok_or(NoMonth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_in_utc_and_a_month_with_its_last_day() {
        // 2026-11-30T23:59:59Z, and the second after it.
        let last = 1_796_083_199;
        assert_eq!(Day::at(last).to_string(), "2026-11-30");
        assert_eq!(Day::at(last + 1).to_string(), "2026-12-01");
        assert_eq!(Day::at(last).month().to_string(), "2026-11");
        assert_eq!(Day::at(last + 1).month().to_string(), "2026-12");
        assert_eq!(Day::at(0).to_string(), "1970-01-01");
        assert_eq!(Day::at(951_782_400).to_string(), "2000-02-29");
        assert!(Day::at(last) < Day::at(last + 1));
        // A clock that shows nonsense is no panic.
        assert!(Day::at(u64::MAX).is_possible());
    }

    #[test]
    fn months_have_one_form() {
        assert_eq!("2026-11".parse::<Month>(), Ok(Day::at(1_796_083_199).month()));
        for text in
            ["", "2026", "2026-", "2026-00", "2026-13", "2026-1", "26-11", "+026-11", "2026-11-30", "x-y"]
        {
            assert_eq!(text.parse::<Month>(), Err(NoMonth), "{text}");
        }
    }
}
