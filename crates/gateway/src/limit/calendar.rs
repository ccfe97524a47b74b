//! Days and months of the calendar in UTC, of which quotas are told: when each begins, and which it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use posthouse_base::time::Timestamp;

const DAY: u64 = 86_400;

/// How long a quota lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Every {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// One day, or one month: `2026-11-21`, `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    every: Every,
    /// Days, or months, since 1970 began.
    number: u32,
}

impl Every {
    /// The one at this time.
    #[must_use]
    pub fn at(self, time: Timestamp) -> Period {
        let days = time.as_millis() / 1000 / DAY;
        let number = match self {
            Self::Day => days,
            Self::Month => {
                let (year, month, _) = date(days);
                (year - 1970) * 12 + month - 1
            }
        };
        Period { every: self, number: u32::try_from(number).unwrap_or(u32::MAX) }
    }

    /// Its name, as the configuration has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl Period {
    /// When the next one begins.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let next = u64::from(self.number) + 1;
        let days = match self.every {
            Every::Day => next,
            Every::Month => days(1970 + next / 12, next % 12 + 1, 1),
        };
        Timestamp::from_millis(days * DAY * 1000)
    }

    /// How long it lasts in all.
    #[must_use]
    pub fn length(self) -> Duration {
        let begin = match self.every {
            Every::Day => u64::from(self.number),
            Every::Month => {
                let number = u64::from(self.number);
                days(1970 + number / 12, number % 12 + 1, 1)
            }
        };
        self.end().since(Timestamp::from_millis(begin * DAY * 1000))
    }

    /// Whether it is over at this time.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        self.end() <= now
    }

    /// Of days, or of months.
    #[must_use]
    pub const fn every(self) -> Every {
        self.every
    }

    /// Which one, in one number.
    pub(crate) fn code(self) -> u64 {
        let every = match self.every {
            Every::Day => 0,
            Every::Month => 1,
        };
        u64::from(self.number) << 1 | every
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u64::from(self.number);
        match self.every {
            Every::Day => {
                let (year, month, day) = date(number);
                write!(formatter, "{year:04}-{month:02}-{day:02}")
            }
            Every::Month => write!(formatter, "{:04}-{:02}", 1970 + number / 12, number % 12 + 1),
        }
    }
}

/// The text is no day and no month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a day like `2026-11-21` nor a month like `2026-11`")]
pub struct NoPeriod;

impl FromStr for Period {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
        let (year, month) = (parts.next().flatten(), parts.next().flatten());
        let (year, month) = year.zip(month).ok_or(NoPeriod)?;
        if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) {
            return Err(NoPeriod);
        }
        let (every, number) = match parts.next() {
            None => (Every::Month, (year - 1970) * 12 + month - 1),
            Some(day) => {
                let day = day.filter(|day| (1..=31).contains(day)).ok_or(NoPeriod)?;
                (Every::Day, days(year, month, day))
            }
        };
        let period = Self { every, number: u32::try_from(number).map_err(|_| NoPeriod)? };
        (period.to_string() == text).then_some(period).ok_or(NoPeriod)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is their last; 719,468 days lie between 0000-03-01 and 1970-01-01.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of a day: year, month, day.
const fn date(days_since_1970: u64) -> (u64, u64, u64) {
    // A guess that is never too late, and then at most two steps.
    let mut year = 1970 + days_since_1970 / 366;
    while days(year + 1, 1, 1) <= days_since_1970 {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= days_since_1970 {
        month += 1;
    }
    (year, month, days_since_1970 - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    #[track_caller]
    fn check(seconds: u64, day: &str, month: &str) {
        let time = Timestamp::from_millis(seconds * 1000);
        assert_eq!(Every::Day.at(time).to_string(), day);
        assert_eq!(Every::Month.at(time).to_string(), month);
    }

    #[test]
    fn days_and_months_are_those_of_the_calendar() {
        check(0, "1970-01-01", "1970-01");
        check(951_782_399, "2000-02-28", "2000-02");
        check(951_782_400, "2000-02-29", "2000-02");
        check(951_868_800, "2000-03-01", "2000-03");
        check(1_795_219_199, "2026-11-20", "2026-11");
        check(1_795_219_200, "2026-11-21", "2026-11");
        check(4_102_444_800, "2100-01-01", "2100-01");
        check(4_107_542_400, "2100-03-01", "2100-03");
    }

    #[test]
    fn a_month_lasts_to_the_first_of_the_next() {
        let december: Period = "2026-12".parse().expect("a month");
        assert_eq!(december.end().as_millis(), 1_798_761_600_000);
        let february: Period = "2028-02".parse().expect("a month");
        assert_eq!(february.length(), Duration::from_secs(29 * DAY));
        for bad in ["2026", "2026-13", "2026-02-30", "2026-2", "1969-01", "x-y", "2026-01-01-01"] {
            assert_eq!(bad.parse::<Period>(), Err(NoPeriod), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn periods_follow_each_other_without_gap(seconds in 0_u64..8_000_000_000) {
            let time = Timestamp::from_millis(seconds * 1000);
            for every in [Every::Day, Every::Month] {
                let period = every.at(time);
                prop_assert!(!period.is_over(time));
                prop_assert!(period.end().since(time) <= period.length());
                let last = Timestamp::from_millis(period.end().as_millis() - 1);
                prop_assert_eq!(every.at(last), period);
                prop_assert!(every.at(period.end()) != period);
                prop_assert_eq!(period.to_string().parse(), Ok(period));
            }
        }
    }
}
