//! Medians and percentiles, and the log of single requests that h2load and `bench-load` write.

use std::path::Path;

use anyhow::Context;

/// One request of a log: h2load's three fields, and the instance where `bench-load` wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// µs since 1970; when it was sent (h2load) or due (`bench-load`).
    pub(crate) start_us: u64,
    /// None when there was no answer.
    pub(crate) status: Option<u16>,
    pub(crate) latency_us: u64,
    pub(crate) instance: Option<String>,
}

impl Request {
    pub(crate) fn failed(&self) -> bool {
        self.status != Some(200)
    }

    pub(crate) fn end_us(&self) -> u64 {
        self.start_us + self.latency_us
    }
}

pub(crate) fn read_log(path: &Path) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let parse = |line| parse_request(line).with_context(|| format!("in a log: `{line}`"));
    text.lines().map(parse).collect()
}

fn parse_request(line: &str) -> Option<Request> {
    let mut fields = line.split('\t');
    Some(Request {
        start_us: fields.next()?.parse().ok()?,
        status: fields.next()?.parse::<i32>().ok().map(|status| u16::try_from(status).ok())?,
        latency_us: fields.next()?.parse().ok()?,
        instance: fields.next().filter(|&name| name != "-").map(ToOwned::to_owned),
    })
}

/// Latencies in ascending order, for [`percentile`].
pub(crate) fn latencies<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Vec<u64> {
    let mut latencies: Vec<u64> = requests.into_iter().map(|request| request.latency_us).collect();
    latencies.sort_unstable();
    latencies
}

/// The smallest value that `percent` of all are not above (nearest rank); 0 of nothing.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_and_ranks() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 99, 100].map(|p| percentile(&hundred, p)), [50, 99, 100]);
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!(percentile(&[], 99), 0);
    }

    #[test]
    fn both_kinds_of_log_are_read() {
        let request = parse_request("1795237881686705\t200\t333").unwrap();
        assert_eq!((request.latency_us, request.failed(), request.instance), (333, false, None));
        let request = parse_request("5\t-1\t10\t-").unwrap();
        assert_eq!((request.status, request.end_us(), request.instance), (None, 15, None));
        assert_eq!(parse_request("5\t200\t10\tb").unwrap().instance.unwrap(), "b");
        assert!(parse_request("5\tok\t10").is_none());
    }
}
