//! The access log: which calls are written, and how. The gateway hands in what is over; lines are
//! written by a thread of their own, so that no call waits for a disk.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use posthouse_base::time::Timestamp;
use posthouse_gateway::access::{Record, Recorder};
use posthouse_gateway::config::model::{self, AccessLogFormat, AccessLogMode};
use posthouse_telemetry::lines::{Counters, LineWriter, Target};
use serde::Serialize;

/// The access log, whose settings may change.
pub(crate) struct AccessLog {
    current: ArcSwap<Current>,
    counters: Counters,
}

struct Current {
    config: model::AccessLog,
    /// Absent when nothing is to be written.
    writer: Option<Arc<LineWriter>>,
}

/// Settings that can be gone by at once.
pub(crate) struct Prepared(Current);

thread_local! {
    /// Calls of this thread that have not been written since the last one that was.
    static PASSED: Cell<u32> = const { Cell::new(0) };
    /// Reused for every line of this thread.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Opens the file, if one is named.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(config: &model::AccessLog, counters: Counters) -> anyhow::Result<Self> {
        let writer = open(config, &counters)?;
        let current = Current { config: config.clone(), writer };
        Ok(Self { current: ArcSwap::from_pointee(current), counters })
    }

    /// Makes ready to go on by other settings; [`AccessLog::install`] does it.
    ///
    /// # Errors
    /// When their file cannot be opened.
    pub(crate) fn prepare(&self, config: &model::AccessLog) -> anyhow::Result<Prepared> {
        let current = self.current.load();
        let is_off = |config: &model::AccessLog| config.mode == AccessLogMode::Off;
        let same = current.config.file == config.file && is_off(&current.config) == is_off(config);
        // Two writers to one file would mix their lines.
        let writer = if same { current.writer.clone() } else { open(config, &self.counters)? };
        Ok(Prepared(Current { config: config.clone(), writer }))
    }

    /// Goes on by other settings.
    pub(crate) fn install(&self, prepared: Prepared) {
        self.current.store(Arc::new(prepared.0));
    }

    /// Opens the file again, after it was moved away.
    pub(crate) fn reopen(&self) {
        if let Some(writer) = &self.current.load().writer {
            writer.reopen();
        }
    }
}

fn open(config: &model::AccessLog, counters: &Counters) -> anyhow::Result<Option<Arc<LineWriter>>> {
    if config.mode == AccessLogMode::Off {
        return Ok(None);
    }
    let target = config.file.clone().map_or(Target::Output, Target::File);
    Ok(Some(Arc::new(LineWriter::open(target, counters.clone())?)))
}

impl Recorder for AccessLog {
    fn record(&self, call: &Record<'_>) {
        let current = self.current.load();
        let Some(writer) = &current.writer else { return };
        if current.config.mode == AccessLogMode::Sampled && !is_sampled(call, current.config.sample)
        {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match current.config.format {
                AccessLogFormat::Text => text(line, call),
                AccessLogFormat::Json => json(line, call),
            }
            writer.write(line);
        });
    }
}

/// Every failed call, and one of `sample` others. What a client got wrong (4xx) is no failure; an
/// answer that was begun well and then cut is one.
fn is_sampled(call: &Record<'_>, sample: u32) -> bool {
    let failed = call.status.is_none_or(|status| {
        status.is_server_error() || (call.fault.is_some() && !status.is_client_error())
    });
    failed || {
        let passed = PASSED.get() + 1;
        PASSED.set(if passed >= sample { 0 } else { passed });
        passed >= sample
    }
}

/// `TIME CLIENT "METHOD HOST PATH PROTOCOL" STATUS RECEIVED SENT SECONDS KEY=VALUE…`
fn text(line: &mut Vec<u8>, call: &Record<'_>) {
    let method = call.method.map_or("-", |method| method.as_str());
    // Writing to a Vec cannot fail.
    let _infallible = write!(line, "{} {} \"{method} ", time(Timestamp::now()), call.client);
    escaped(line, call.host);
    line.push(b' ');
    escaped(line, call.path);
    let _infallible = write!(line, " {}\" ", call.protocol);
    let _infallible = match call.status {
        Some(status) => write!(line, "{}", status.as_u16()),
        None => write!(line, "-"),
    };
    let seconds = call.duration.as_secs_f64();
    let _infallible = write!(line, " {} {} {seconds:.6}", call.received, call.sent);
    for (key, value) in [("route", call.route), ("service", call.service), ("fault", call.fault)] {
        if let Some(value) = value {
            let _infallible = write!(line, " {key}=");
            escaped(line, value.as_bytes());
        }
    }
    if let Some(endpoint) = call.endpoint {
        let _infallible = write!(line, " endpoint={endpoint}");
    }
    if let Some(status) = call.grpc_status {
        let _infallible = write!(line, " grpc={status}");
    }
    let _infallible = write!(line, " tries={} trace={:032x} id=", call.tries, call.trace.trace_id);
    escaped(line, request_id(call).as_bytes());
}

/// What a client sent must not look like a line of its own, or end the quotes around it.
fn escaped(line: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b'!'..=b'~' => line.push(*byte),
            _ => {
                let _infallible = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    client: String,
    method: Option<&'a str>,
    host: Cow<'a, str>,
    path: Cow<'a, str>,
    protocol: &'a str,
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u16>,
    route: Option<&'a str>,
    service: Option<&'a str>,
    endpoint: Option<String>,
    tries: u32,
    received_bytes: u64,
    sent_bytes: u64,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
    trace_id: String,
    request_id: Cow<'a, str>,
}

fn request_id<'a>(call: &Record<'a>) -> Cow<'a, str> {
    match call.request_id {
        Some(id) => Cow::Borrowed(id),
        // A request that could not be read has neither.
        None if call.trace.trace_id == 0 => Cow::Borrowed(""),
        None => Cow::Owned(format!("{:032x}", call.trace.trace_id)),
    }
}

fn json(line: &mut Vec<u8>, call: &Record<'_>) {
    let written = Line {
        time: time(Timestamp::now()),
        client: call.client.to_string(),
        method: call.method.map(|method| method.as_str()),
        host: String::from_utf8_lossy(call.host),
        path: String::from_utf8_lossy(call.path),
        protocol: call.protocol,
        status: call.status.map(|status| status.as_u16()),
        grpc_status: call.grpc_status,
        route: call.route,
        service: call.service,
        endpoint: call.endpoint.map(|endpoint| endpoint.to_string()),
        tries: call.tries,
        received_bytes: call.received,
        sent_bytes: call.sent,
        duration_us: u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX),
        fault: call.fault,
        trace_id: format!("{:032x}", call.trace.trace_id),
        request_id: request_id(call),
    };
    // Plain fields into memory: nothing of it can fail.
    let _infallible = serde_json::to_writer(line, &written);
}

/// RFC 3339 in UTC, to the millisecond.
fn time(at: Timestamp) -> String {
    let millis = at.as_millis();
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, millis) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from March, so that the day
/// that comes and goes is the last one, in eras of 400 years, after which everything repeats.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use http::{Method, StatusCode};
    use posthouse_base::trace::TraceContext;

    use super::*;

    fn call<'a>(status: Option<StatusCode>, path: &'a str) -> Record<'a> {
        Record {
            client: SocketAddr::from(([192, 0, 2, 1], 5)),
            method: Some(&Method::GET),
            host: b"shop.example",
            path: path.as_bytes(),
            protocol: "HTTP/1.1",
            status,
            grpc_status: None,
            route: Some("users"),
            service: Some("users"),
            endpoint: Some(SocketAddr::from(([127, 0, 0, 1], 7))),
            tries: 1,
            received: 2,
            sent: 3,
            duration: Duration::from_micros(1500),
            fault: None,
            trace: TraceContext { trace_id: 0xab, span_id: 1, sampled: true },
            request_id: Some("r1"),
        }
    }

    #[test]
    fn times_are_written_as_people_and_programs_read_them() {
        for (millis, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(Timestamp::from_millis(millis)), wanted);
        }
    }

    #[test]
    fn a_line_of_text_cannot_be_forged() {
        let mut line = Vec::new();
        text(&mut line, &call(Some(StatusCode::OK), "/a\"\n\u{e9}"));
        let line = String::from_utf8(line).expect("text");
        let (_, after_time) = line.split_once(' ').expect("a time");
        assert_eq!(
            after_time,
            "192.0.2.1:5 \"GET shop.example /a\\\"\\x0a\\xc3\\xa9 HTTP/1.1\" 200 2 3 0.001500 \
             route=users service=users endpoint=127.0.0.1:7 tries=1 \
             trace=000000000000000000000000000000ab id=r1"
        );
    }

    #[test]
    fn a_line_of_json_has_every_field() {
        let mut line = Vec::new();
        json(&mut line, &call(None, "/"));
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["duration_us"], 1500);
        assert_eq!(value["status"], serde_json::Value::Null);
        assert_eq!(value["trace_id"], "000000000000000000000000000000ab");
    }

    #[test]
    fn samples_hold_every_failure_and_some_of_the_rest() {
        let (good, bad) =
            (call(Some(StatusCode::OK), "/"), call(Some(StatusCode::BAD_GATEWAY), "/"));
        assert_eq!((0..100).filter(|_| is_sampled(&good, 10)).count(), 10);
        assert_eq!((0..100).filter(|_| is_sampled(&bad, 10)).count(), 100);
        assert_eq!((0..100).filter(|_| is_sampled(&good, 1)).count(), 100);
        let lost = Record { fault: Some("no-route"), ..call(Some(StatusCode::NOT_FOUND), "/") };
        assert_eq!((0..100).filter(|_| is_sampled(&lost, 10)).count(), 10);
        let cut = Record { fault: Some("cut"), ..call(Some(StatusCode::OK), "/") };
        assert_eq!((0..100).filter(|_| is_sampled(&cut, 10)).count(), 100);
    }
}
