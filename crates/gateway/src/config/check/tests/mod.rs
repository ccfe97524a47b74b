//! Tests of the check, on configurations as they would stand in the file.

mod files;
mod guard;
mod limits;
mod mistakes;
mod overlap;
mod valid;

use std::path::Path;

use posthouse_base::config::{Report, Severity};
use serde_json::Value;

use crate::config::{Config, check};

fn checked(written: Value, base_dir: &Path) -> (Config, Report) {
    let raw = serde_json::from_value(written).unwrap();
    let mut report = Report::new();
    let config = check(raw, base_dir, &mut report);
    (config, report)
}

/// Every finding as one line: `error routes[0].match.path: what is wrong [help]`.
fn findings(report: &Report) -> Vec<String> {
    let shown = report.findings().iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let help = finding.help.as_ref().map(|help| format!(" [{help}]")).unwrap_or_default();
        format!("{severity} {}: {}{help}", finding.path, finding.message)
    });
    shown.collect()
}

/// Checks what is found in a configuration, in any order.
#[track_caller]
fn expect(written: Value, expected: &[&str]) {
    let (_, report) = checked(written, Path::new("/nowhere"));
    let (mut found, mut expected) = (findings(&report), expected.to_vec());
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected, "found:\n{}", found.join("\n"));
}
