//! Dates as people write them (RFC 3339) and as headers say them: `Deprecation` as a structured
//! field (RFC 9745 §2), `Sunset` as an HTTP date (RFC 8594 §3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_base::time::Timestamp;

const DAY: u64 = 86_400;

/// Reads `2026-10-01`, which is the beginning of that day, or `2026-10-01T12:00:00Z`; an offset may
/// stand in place of `Z`. Only from 1970 to 9999.
#[must_use]
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || year < 1970 {
        return None;
    }
    let longest = days_of_month(year, month)?;
    if day < 1 || day > longest {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    let (seconds, offset) = time.map_or(Some((0, 0)), clock)?;
    let seconds = i64::try_from(days * DAY + seconds).ok()? - offset;
    Some(Timestamp::from_millis(u64::try_from(seconds).ok()?.checked_mul(1000)?))
}

/// `12:00:00Z` or `12:00:00.5+02:00`: seconds of the day, and how far it is ahead of UTC.
fn clock(text: &str) -> Option<(u64, i64)> {
    let at = text.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = text.split_at(at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = time.split(':');
    let (hour, minute, second) =
        (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let sign = match zone.as_bytes() {
        [b'Z' | b'z'] => return Some((hour * 3600 + minute * 60 + second, 0)),
        [b'+', ..] => 1,
        _ => -1,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    let ahead = i64::try_from(hours * 3600 + minutes * 60).ok()?;
    let is_offset = hours <= 23 && minutes <= 59;
    is_offset.then_some((hour * 3600 + minute * 60 + second, sign * ahead))
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A time as it is written in the file: only its date when it is the beginning of a day.
#[must_use]
pub(crate) fn written(time: Timestamp) -> String {
    let seconds = time.as_millis() / 1000;
    let (year, month, day) = civil(seconds / DAY);
    let date = format!("{year:04}-{month:02}-{day:02}");
    let of_day = seconds % DAY;
    if of_day == 0 {
        return date;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The value of `Deprecation`: `@1659178383`.
#[must_use]
pub(crate) fn structured(time: Timestamp) -> String {
    format!("@{}", time.as_millis() / 1000)
}

/// The value of `Sunset`: `Sat, 31 Dec 2026 23:59:59 GMT`.
#[must_use]
pub(crate) fn http(time: Timestamp) -> String {
    let since = Duration::from_secs(time.as_millis() / 1000);
    // Dates beyond 9999 cannot be written, and are not read.
    let time: SystemTime = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    httpdate::fmt_http_date(time)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: u64, month: u64) -> Option<u64> {
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => return None,
    })
}

/// Days from 1970 to the first of this month.
fn days_before(year: u64, month: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + (1..month).filter_map(|month| days_of_month(year, month)).sum::<u64>()
}

/// Year, month and day of a day since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    (year, month, days - days_before(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, seconds: u64) {
        let read = read(text).unwrap_or_else(|| panic!("{text} is a date"));
        assert_eq!(read.as_millis() / 1000, seconds, "{text}");
    }

    #[test]
    fn dates_are_read() {
        check("1970-01-01", 0);
        check("2000-02-29", 951_782_400);
        check("2100-03-01", 4_107_542_400);
        check("2022-07-30T10:53:03Z", 1_659_178_383);
        check("2022-07-30t12:53:03.25+02:00", 1_659_178_383);
        check("2022-07-30T08:23:03-02:30", 1_659_178_383);
        check("9999-12-31T23:59:59Z", 253_402_300_799);
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-13-01",
            "2026-02-29",
            "1969-12-31",
            "2026-04-31",
            "2026-01-00",
            "2026-01-01T",
            "2026-01-01T10:00",
            "2026-01-01T10:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T10:00:60Z",
            "2026-01-01T10:00:00+24:00",
            "2026-01-01T10:00:00.Z",
            "2026-01-01 10:00:00Z",
            "+026-01-01",
            "2026-01-01-01",
            "1970-01-01T00:00:00+01:00",
            "2026-01-01T10:00:00Zz",
            "２026-01-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut luck = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let seconds = luck.u64(..253_402_300_800);
            let seconds = if luck.bool() { seconds - seconds % DAY } else { seconds };
            let time = Timestamp::from_millis(seconds * 1000);
            assert_eq!(read(&written(time)), Some(time), "{}", written(time));
            assert_eq!(structured(time), format!("@{seconds}"));
            let spoken = httpdate::parse_http_date(&http(time)).expect("a date");
            assert_eq!(spoken, UNIX_EPOCH + Duration::from_secs(seconds));
        }
        assert_eq!(
            http(Timestamp::from_millis(1_798_761_599_000)),
            "Thu, 31 Dec 2026 23:59:59 GMT"
        );
    }
}
