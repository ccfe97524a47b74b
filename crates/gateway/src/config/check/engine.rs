//! `gateway`: settings of the gateway as a whole.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use posthouse_base::config::Path;

use super::Check;
use crate::config::model::{AccessLog, Engine, Shedding};
use crate::config::raw;
use crate::http1;

const MOST_THREADS: usize = 256;
const MOST_CONNECTIONS: usize = 1 << 20;
const MOST_STREAMS: u32 = 1 << 16;
const MOST_LIMIT_KEYS: usize = 1 << 26;
const MOST_WAITING: u32 = 1 << 20;

impl Check<'_> {
    pub(super) fn engine(&mut self, raw: raw::Engine) -> Engine {
        let path = Path::root().key("gateway");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let limits = path.key("limits");
        let timeouts = path.key("timeouts");
        let drain = raw.timeouts.drain.map_or(Duration::from_secs(20), |span| span.0);
        Engine {
            threads: self.number(
                &path.key("threads"),
                raw.threads,
                cores.min(MOST_THREADS),
                &(1..=MOST_THREADS),
            ),
            trusted_proxies: self.trusted_proxies(&path, &raw.trusted_proxies),
            forwarded: raw.forwarded,
            limits: self.parser_limits(&limits, &raw.limits),
            max_connections: self.number(
                &limits.key("connections"),
                raw.limits.connections,
                16_384,
                &(1..=MOST_CONNECTIONS),
            ),
            max_streams: self.number(
                &limits.key("streams"),
                raw.limits.streams,
                256,
                &(1..=MOST_STREAMS),
            ),
            header_timeout: self.time(
                &timeouts.key("header"),
                raw.timeouts.header,
                Duration::from_secs(10),
            ),
            keep_alive: self.time(
                &timeouts.key("keep_alive"),
                raw.timeouts.keep_alive,
                Duration::from_secs(75),
            ),
            idle_timeout: self.time(
                &timeouts.key("idle"),
                raw.timeouts.idle,
                Duration::from_secs(60),
            ),
            drain,
            access_log: self.access_log(&path.key("access_log"), raw.access_log),
            limit_keys: self.number(
                &limits.key("keys"),
                raw.limits.keys,
                1_000_000,
                &(1000..=MOST_LIMIT_KEYS),
            ),
            shedding: raw.shedding.map(|raw| self.shedding(&path.key("shedding"), &raw)),
        }
    }

    fn shedding(&mut self, path: &Path, raw: &raw::Shedding) -> Shedding {
        let least = self.number(&path.key("least"), raw.least, 16, &(1..=MOST_WAITING));
        let most = self.number(&path.key("most"), raw.most, 8192, &(1..=MOST_WAITING));
        if most < least {
            self.error(&path.key("most"), "no more may ever wait than may in any case");
        }
        let tolerance = path.key("tolerance");
        let tolerance = self.number(&tolerance, raw.tolerance, 2.0, &(1.1..=100.0));
        Shedding { tolerance, least, most: most.max(least) }
    }

    fn trusted_proxies(&mut self, path: &Path, written: &[String]) -> Vec<IpNet> {
        let path = path.key("trusted_proxies");
        let mut nets = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(net) => nets.push(net),
                Err(_) => self.error_with_help(
                    &path.index(index),
                    format!("`{text}` is no network"),
                    "write `10.0.0.0/8` or a single address",
                ),
            }
        }
        nets
    }

    fn parser_limits(&mut self, path: &Path, raw: &raw::EngineLimits) -> http1::Limits {
        let default = http1::Limits::default();
        let head_bounds = 1 << 10..=http1::Limits::MAX_HEAD;
        let head = self.bytes(&path.key("head"), raw.head, default.head, &head_bounds);
        // The request line is a part of the head.
        let uri = self.bytes(&path.key("uri"), raw.uri, default.uri.min(head), &(64..=head));
        let fields_bounds = 8..=http1::Limits::MAX_FIELDS;
        let fields = self.number(&path.key("fields"), raw.fields, default.fields, &fields_bounds);
        http1::Limits { uri, head, fields }
    }

    fn access_log(&mut self, path: &Path, raw: raw::AccessLog) -> AccessLog {
        AccessLog {
            mode: raw.mode,
            format: raw.format,
            sample: self.number(&path.key("sample"), raw.sample, 100, &(1..=u32::MAX)),
            file: raw.file.map(|file| self.base_dir.join(file)),
        }
    }
}
