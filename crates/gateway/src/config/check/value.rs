//! Scalars that are checked in more than one place.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use posthouse_base::config::{Path, Size, Span};

use super::Check;
use crate::http::chars;
use crate::http::known::Known;

/// The longest name of a service.
const LONGEST_NAME: usize = 128;

/// Whether this may name a service.
pub(super) fn is_service_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(plain)
}

/// `HOST:PORT` in its two parts. IPv6 addresses stand in brackets, which are taken off.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(|_| (inner, port)),
        None => is_host(host).then_some((host, port)),
    }
}

/// Whether this is a host name or an IPv4 address.
pub(super) fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && chars::is_host(host.as_bytes())
        && !host.starts_with('.')
        && !host.contains("..")
}

/// Whether this can be an authority: a host and perhaps a port.
pub(super) fn is_authority(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    is_host(text)
        || bracketed.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        || host_and_port(text).is_some()
}

impl Check<'_> {
    /// A length of time above zero.
    pub(super) fn time(
        &mut self,
        path: &Path,
        written: Option<Span>,
        default: Duration,
    ) -> Duration {
        match written {
            Some(Span(Duration::ZERO)) => {
                self.error(path, "this time must be above 0");
                default
            }
            Some(Span(time)) => time,
            None => default,
        }
    }

    /// A length of time, 0 being off.
    pub(super) fn time_or_off(written: Option<Span>, default: Duration) -> Option<Duration> {
        let time = written.map_or(default, |Span(time)| time);
        (!time.is_zero()).then_some(time)
    }

    /// A number within bounds.
    pub(super) fn number<N>(
        &mut self,
        path: &Path,
        written: Option<N>,
        default: N,
        bounds: &RangeInclusive<N>,
    ) -> N
    where
        N: PartialOrd + Copy + std::fmt::Display,
    {
        let number = written.unwrap_or(default);
        if bounds.contains(&number) {
            return number;
        }
        let (low, high) = (bounds.start(), bounds.end());
        self.error(path, format!("{number} is not between {low} and {high}"));
        default
    }

    /// A number of bytes within bounds.
    pub(super) fn bytes(
        &mut self,
        path: &Path,
        written: Option<Size>,
        default: usize,
        bounds: &RangeInclusive<usize>,
    ) -> usize {
        let Some(size) = written else { return default };
        if let Ok(bytes) = usize::try_from(size.0)
            && bounds.contains(&bytes)
        {
            return bytes;
        }
        let shown = |bytes: usize| Size(u64::try_from(bytes).unwrap_or(u64::MAX));
        let (low, high) = (shown(*bounds.start()), shown(*bounds.end()));
        self.error(path, format!("{size} is not between {low} and {high}"));
        default
    }

    /// A status code within bounds.
    pub(super) fn status(
        &mut self,
        path: &Path,
        written: u16,
        bounds: &RangeInclusive<u16>,
    ) -> Option<StatusCode> {
        let (low, high) = (bounds.start(), bounds.end());
        let status = StatusCode::from_u16(written).ok().filter(|_| bounds.contains(&written));
        if status.is_none() {
            self.error(path, format!("{written} is not a status code between {low} and {high}"));
        }
        status
    }

    /// The name of a header.
    pub(super) fn header_name(&mut self, path: &Path, written: &str) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(written.as_bytes()).ok();
        if name.is_none() {
            self.error(path, format!("`{written}` is no name of a header"));
        }
        name
    }

    /// The name of a header that the file may change: not one that frames the message.
    pub(super) fn editable_header(&mut self, path: &Path, written: &str) -> Option<HeaderName> {
        let name = self.header_name(path, written)?;
        let known = Known::of(name.as_str().as_bytes());
        if known == Known::Host {
            self.error_with_help(
                path,
                "`Host` is not changed here",
                "write `rewrite: { host: … }`",
            );
            None
        } else if known.is_hop_by_hop() || known == Known::ContentLength {
            self.error(
                path,
                format!("`{name}` belongs to the connection and is not to be changed"),
            );
            None
        } else {
            Some(name)
        }
    }

    /// The value of a header.
    pub(super) fn header_value(&mut self, path: &Path, written: &str) -> Option<HeaderValue> {
        let value = HeaderValue::from_str(written)
            .or_else(|_| HeaderValue::from_bytes(written.as_bytes()))
            .ok();
        if value.is_none() {
            self.error(path, "a value of a header has no line breaks or control characters");
        }
        value
    }
}
