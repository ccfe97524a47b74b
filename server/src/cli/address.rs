//! Paths and queries of the admin API, with names and notes of any kind in them; and what names
//! something on the command line.

use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands for itself in a step of a path, and in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A name as one step of a path.
pub(super) fn step(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// A path, to which a query is added piece by piece.
#[derive(Clone, Debug)]
pub(super) struct Address(String);

impl Address {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// Adds a parameter, if there is a value for it.
    pub(super) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0 += &format!("{name}={}", utf8_percent_encode(value, PLAIN));
        }
        self
    }

    /// Adds a parameter that is said or not.
    pub(super) fn with_flag(self, name: &str, is_said: bool) -> Self {
        self.with(name, is_said.then_some("true"))
    }

    /// Adds a number, if there is one.
    pub(super) fn with_number(self, name: &str, number: Option<u64>) -> Self {
        let number = number.map(|number| number.to_string());
        self.with(name, number.as_deref())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A version of an API: `users@v2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) api: String,
    pub(super) version: String,
}

/// An API, or a version of one: `users`, `users@v2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) api: String,
    pub(super) version: Option<String>,
}

impl Version {
    /// Where it is in the admin API.
    pub(super) fn path(&self) -> String {
        format!("apis/{}/versions/{}", step(&self.api), step(&self.version))
    }
}

impl Api {
    /// Where it is in the admin API.
    pub(super) fn path(&self) -> String {
        let api = step(&self.api);
        match &self.version {
            Some(version) => format!("apis/{api}/versions/{}", step(version)),
            None => format!("apis/{api}"),
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known: Api = text.parse()?;
        let version = known.version.ok_or("name a version, like `users@v2`")?;
        Ok(Self { api: known.api, version })
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (api, version) = match text.split_once('@') {
            Some((api, version)) => (api, Some(version)),
            None => (text, None),
        };
        if api.is_empty() || version.is_some_and(str::is_empty) {
            return Err("write `users`, or `users@v2` for a version".into());
        }
        Ok(Self { api: api.into(), version: version.map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_notes_stay_what_they_are() {
        let version: Version = "users@v/2".parse().unwrap();
        assert_eq!(version.path(), "apis/users/versions/v%2F2");
        let address = Address::new("plans/a").with("note", Some("a & b=ü")).with("none", None);
        let address = address.with_flag("dry_run", true).with_number("revision", Some(7));
        assert_eq!(address.as_str(), "plans/a?note=a%20%26%20b%3D%C3%BC&dry_run=true&revision=7");
        assert_eq!("users".parse::<Api>().unwrap().path(), "apis/users");
        for wrong in ["", "@v1", "users@"] {
            assert!(wrong.parse::<Api>().is_err() && wrong.parse::<Version>().is_err(), "{wrong}");
        }
        assert!("users".parse::<Version>().is_err());
    }
}
