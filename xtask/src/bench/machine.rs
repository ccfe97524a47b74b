//! What a table was measured on. A figure without its machine and versions is no figure.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Of this tree, with `+` when it had changes.
    pub(crate) commit: String,
    /// The day of the measurement.
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn here(root: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: field(&meminfo, "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib.div_ceil(1 << 20)),
            kernel: kernel.trim().to_owned(),
            commit: commit(root),
            date: today(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, cores, memory_gib, kernel, commit, date } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}, commit {commit}, {date}")
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn today() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}

fn commit(root: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").current_dir(root).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_some_and(|text| !text.is_empty()) { format!("{commit}+") } else { commit }
}

/// The core for what is measured and the core for load and backend: the first two that we may use.
pub(crate) fn two_cores() -> anyhow::Result<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cores: Vec<usize> =
        (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false)).collect();
    ensure!(cores.len() >= 2, "two cores are needed: one for the proxy, one for load and backend");
    Ok((cores[0], cores[1]))
}

/// The first line of what a program says of its version, from its first digit on.
pub(crate) fn version(program: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return "unknown".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    version_number(&String::from_utf8_lossy(&text)).unwrap_or_else(|| "unknown".to_owned())
}

/// The first word that holds a number with a dot: programs put names and slashes around it.
fn version_number(text: &str) -> Option<String> {
    let numbers = text.split(|c: char| !(c.is_ascii_alphanumeric() || "._+~-".contains(c)));
    numbers
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, expected) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https", "2.6.12-1+deb12u4"),
            ("Version:      3.7.15\nCodename: x", "3.7.15"),
            ("v2.11.7 h1:abc=", "2.11.7"),
            ("h2load nghttp2/1.52.0", "1.52.0"),
            ("posthouse 0.1.0", "0.1.0"),
            ("wrk debian/4.1.0-3+b2 [epoll]", "4.1.0-3+b2"),
        ] {
            assert_eq!(version_number(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(version_number("none"), None);
    }
}
