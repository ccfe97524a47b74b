//! Times as people write them: RFC 3339, in UTC unless an offset is given.

use posthouse_base::time::Timestamp;

const DAY: u64 = 86_400;

/// `2026-11-21T08:15:00.123Z`.
#[must_use]
pub fn show(time: Timestamp) -> String {
    let (seconds, millis) = (time.as_millis() / 1000, time.as_millis() % 1000);
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads `2026-11-21T08:15:00.123Z`, `2026-11-21 08:15`, or with an offset like `+01:00`; `None`
/// when it is no time.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let (time, offset) = offset(time)?;
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let mut parts = time.split([':', '.']);
    let mut part = |digits: usize| match parts.next() {
        None => Some(0),
        Some(text) => number(text, digits),
    };
    let (hour, minute, second) = (part(2)?, part(2)?, part(2)?);
    let millis = match parts.next() {
        None => 0,
        Some(fraction) if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{fraction:0<3}")[..3].parse().ok()?
        }
        Some(_) => return None,
    };
    let in_range = hour < 24 && minute < 60 && second < 60 && time.contains(':');
    if !in_range || parts.next().is_some() {
        return None;
    }
    let seconds = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    let seconds = seconds.checked_add_signed(-offset)?;
    Some(Timestamp::from_millis(seconds * 1000 + millis))
}

/// The time without its offset, and the offset's seconds.
fn offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, offset) = time.split_at(at);
    let [hours, minutes] = numbers(&offset[1..], ':')?[..] else { return None };
    let seconds = i64::try_from(hours * 3600 + minutes * 60).ok().filter(|_| hours < 24)?;
    Some((time, if offset.starts_with('-') { -seconds } else { seconds }))
}

fn numbers(text: &str, between: char) -> Option<Vec<u64>> {
    text.split(between).map(|part| number(part, part.len().clamp(2, 4))).collect()
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date, if there is such a one.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let before = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let month = usize::try_from(month).ok()?;
    let lengths = lengths(year);
    let before: u64 = before + lengths[..month - 1].iter().sum::<u64>();
    (day <= lengths[month - 1]).then_some(before + day - 1)
}

fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= lengths(year).iter().sum() {
        days -= lengths(year).iter().sum::<u64>();
        year += 1;
    }
    for (month, length) in (1..).zip(lengths(year)) {
        if days < length {
            return (year, month, days + 1);
        }
        days -= length;
    }
    (year + 1, 1, 1)
}

const fn lengths(year: u64) -> [u64; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, millis: Option<u64>) {
        assert_eq!(parse(text).map(Timestamp::as_millis), millis, "{text}");
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T12:34:56.789Z", Some(951_827_696_789));
        check("2026-11-21 08:15", Some(1_795_248_900_000));
        check("2026-11-21T09:15:00+01:00", Some(1_795_248_900_000));
        check("2026-11-21T03:45:00.5-04:30", Some(1_795_248_900_500));
        check("2026-11-21T08:15:00.1234567Z", Some(1_795_248_900_123));
        for wrong in [
            "",
            "2026-11-21",
            "08:15",
            "2026-13-01 00:00",
            "2026-02-29 00:00",
            "2026-11-31 00:00",
            "2026-11-21 24:00",
            "2026-11-21 08:15:61",
            "2026-11-21 08:15:00.x",
            "1969-12-31 00:00",
            "2026-11-21 8:15",
            "2026-11-21 08",
            "26-11-21 08:15",
            "2026-11-21 08:15 1",
            "1970-01-01T00:00:00+01:00",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for millis in (0..4_000_000_000_000).step_by(86_399_999_999) {
            let text = show(Timestamp::from_millis(millis));
            assert_eq!(parse(&text), Some(Timestamp::from_millis(millis)), "{text}");
        }
    }
}
