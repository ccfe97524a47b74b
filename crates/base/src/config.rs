//! Configuration scalars as people write them (`500ms`, `64KiB`), and the report that collects
//! every mistake of a file, so that a user mends all of them in one go.
//!
//! A pillar's `config.rs` holds *raw* types (serde + schemars, doc comments are the reference) and
//! one function that turns them into checked types, noting every mistake in a [`Report`] under its
//! path. The server knows the file's lines and columns and joins them to the paths.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a value stands in the configuration: `routes[2].match.path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// The whole document.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// A key of the mapping here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        if self.0.is_empty() { Self(key.into()) } else { Self(format!("{}.{key}", self.0)) }
    }

    /// An element of the sequence here, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The path as text; empty for the whole document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(document)" } else { &self.0 })
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration works, but not as its author is likely to think.
    Warning,
    /// The configuration is refused.
    Error,
}

/// One finding about the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the configuration is refused for it.
    pub severity: Severity,
    /// Where.
    pub path: Path,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What was probably meant, or what mends it.
    pub help: Option<String>,
}

/// Every finding about a configuration, in the order of discovery.
#[derive(Clone, Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a mistake for which the configuration is refused.
    pub fn error(&mut self, path: &Path, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, path, message.into())
    }

    /// Notes something that works but is probably not meant.
    pub fn warning(&mut self, path: &Path, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Warning, path, message.into())
    }

    fn push(&mut self, severity: Severity, path: &Path, message: String) -> &mut Finding {
        self.findings.push(Finding { severity, path: path.clone(), message, help: None });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// All findings.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether the configuration must be refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Takes over the findings of another report.
    pub fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
    }
}

impl Finding {
    /// Says what was probably meant, or what mends it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    /// Suggests the nearest of `known` to what was `written`, if one is near.
    pub fn suggest<'a>(&mut self, written: &str, known: impl IntoIterator<Item = &'a str>) {
        if let Some(near) = nearest(written, known) {
            self.help(format!("did you mean `{near}`?"));
        }
    }
}

/// The nearest of `known` to `written`, if one is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(written, known), known))
        .filter(|(distance, known)| *distance <= (known.len().max(3) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// A length of time as written in the configuration: `500ms`, `10s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes as written in the configuration: `512B`, `64KiB`, `10MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The units of a [`Span`] with their nanoseconds, smallest first.
const SPAN_UNITS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// The units of a [`Size`] with their bytes, smallest first.
const SIZE_UNITS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SPAN_UNITS)
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .ok_or_else(|| format!("`{text}` is not a length of time like `500ms`, `10s` or `2m`"))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SIZE_UNITS)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size like `512B`, `64KiB` or `10MiB`"))
    }
}

/// `text` as a whole number directly followed by one of `units`.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*scale)
}

fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let fits =
        units.iter().rev().find(|(_, scale)| value >= *scale && value.is_multiple_of(*scale));
    let (unit, scale) = fits.copied().unwrap_or((units[0].0, units[0].1));
    format!("{}{unit}", value / scale)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        f.write_str(&shown(nanos, &SPAN_UNITS))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0, &SIZE_UNITS))
    }
}

macro_rules! written_as_text {
    ($type:ty, $name:literal, $pattern:literal, $description:literal, $examples:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "format": $name,
                    "pattern": $pattern,
                    "description": $description,
                    "examples": $examples,
                })
            }
        }
    };
}

written_as_text!(
    Span,
    "span",
    "^[0-9]+(us|ms|s|m|h|d)$",
    "A length of time.",
    ["500ms", "10s", "2m"]
);
written_as_text!(
    Size,
    "size",
    "^[0-9]+(B|KiB|MiB|GiB)$",
    "A number of bytes.",
    ["512B", "64KiB", "10MiB"]
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn spans_and_sizes_are_read_as_people_write_them() {
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "5S"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert!("64KB".parse::<Size>().is_err());
    }

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("lisener", ["listeners", "services"]), Some("listeners"));
        assert_eq!(nearest("listner", ["listeners", "services"]), Some("listeners"));
        assert_eq!(nearest("xyz", ["listeners", "services"]), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in 1_u64..1_000_000_000) {
            let span = Span(Duration::from_micros(nanos));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            let size = Size(nanos);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
