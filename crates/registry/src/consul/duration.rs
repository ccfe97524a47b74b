//! Durations as Go writes them: `10s`, `1m30s`, `1.5h`; in bodies also a number of nanoseconds.

use std::fmt::Write as _;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// A duration in a body. Negative ones are 0, which means "not set" wherever Consul reads one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GoDuration(pub(crate) Duration);

/// Reads a duration; negative ones become 0.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let (is_negative, mut rest) = match unsigned.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, unsigned),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == &rest[..unit])?;
        seconds += number * scale;
        rest = &rest[unit..];
        if rest.is_empty() {
            break;
        }
    }
    if is_negative { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// Writes a duration.
pub(crate) fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    if seconds == 0 {
        let (scale, unit) = match nanos {
            0 => return "0s".into(),
            1..1_000 => (1.0, "ns"),
            1_000..1_000_000 => (1e3, "µs"),
            _ => (1e6, "ms"),
        };
        return format!("{}{unit}", f64::from(nanos) / scale);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _infallible = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _infallible = write!(text, "{minutes}m");
    }
    let fraction = format!("{:.9}", f64::from(nanos) * 1e-9);
    let fraction = fraction.trim_start_matches('0').trim_end_matches('0').trim_end_matches('.');
    let _infallible = write!(text, "{}{fraction}s", seconds % 60);
    text
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = GoDuration;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration like \"10s\" or a number of nanoseconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<GoDuration, E> {
                if text.is_empty() {
                    return Ok(GoDuration::default());
                }
                let read = parse(text).map(GoDuration);
                read.ok_or_else(|| E::custom(format_args!("time: invalid duration {text:?}")))
            }

            fn visit_u64<E: Error>(self, nanos: u64) -> Result<GoDuration, E> {
                Ok(GoDuration(Duration::from_nanos(nanos)))
            }

            fn visit_i64<E: Error>(self, nanos: i64) -> Result<GoDuration, E> {
                Ok(GoDuration(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
            }

            fn visit_f64<E: Error>(self, nanos: f64) -> Result<GoDuration, E> {
                let read = Duration::try_from_secs_f64((nanos * 1e-9).max(0.0));
                read.map(GoDuration).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("100ms", 100),
            ("2h45m0.5s", 9_900_500),
            ("0", 0),
            ("-5s", 0),
            ("+1s", 1_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "10", "1d", "1s ", "1..5s", "-", "1e9s", "9999999999999999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (5, "5ms"),
            (1_500, "1.5s"),
            (10_000, "10s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(format(Duration::from_millis(millis)), text);
        }
        assert_eq!(format(Duration::from_nanos(1_500)), "1.5µs");
    }

    #[test]
    fn a_body_may_give_nanoseconds() {
        let read = |text| serde_json::from_str::<GoDuration>(text).map(|read| read.0);
        assert_eq!(read("1000000000").expect("a number"), Duration::from_secs(1));
        assert_eq!(read("1e9").expect("a number"), Duration::from_secs(1));
        assert_eq!(read("-1").expect("a number"), Duration::ZERO);
        assert_eq!(read("\"\"").expect("not set"), Duration::ZERO);
        assert!(read("\"soon\"").is_err());
        assert!(read("true").is_err());
    }
}
