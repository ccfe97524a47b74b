//! The journal: durable appends beside SQLite alone, an fsync before every answer by the word of
//! `strace`, half an hour of everything at once, and the start of one with ten million events. The
//! load is `bench/journal`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::float;
use super::install::{self, Source};
use super::machine::Machine;
use super::report::{self, Table};

/// What is promised: this share of what SQLite does alone; opened and ready within this time; a file
/// that does not grow any more after the first half of the time.
const SHARE: f64 = 0.60;
const START_MS: u64 = 2_000;
const GROWTH: f64 = 1.10;

/// Appends that `strace` looks at.
const TRACED: usize = 100;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Minutes of appends, reads and removals at the same time; 0 leaves them out.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Events in the journal whose start is measured; 0 leaves it out.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Seconds for each measurement of appends.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// The folder of the journals, on the disk that is meant.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Install strace if it is missing (apt-get as root).
    #[arg(long)]
    install: bool,
    /// Put the tables into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Deserialize)]
struct Appends {
    size: u64,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    batch: u64,
    sqlite: f64,
    journal: Vec<Writers>,
}

#[derive(Debug, Deserialize)]
struct Writers {
    writers: u64,
    events_per_second: f64,
    share_of_sqlite: f64,
    p50_us: u64,
    p99_us: u64,
}

#[derive(Debug, Deserialize)]
struct Minute {
    minute: u64,
    appended: u64,
    removed: u64,
    read: u64,
    file_mib: u64,
    log_mib: u64,
    append_p50_us: u64,
    append_p99_us: u64,
    append_max_us: u64,
    read_p99_us: u64,
}

#[derive(Debug, Deserialize)]
struct Start {
    events: u64,
    file_bytes: u64,
    open_ms: u64,
    checkpoint_ms: u64,
    tail_ms: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let root = super::root()?;
    let folder = match &options.folder {
        Some(folder) => folder.clone(),
        None => super::fresh_folder(&root, "journal")?,
    };
    let load = install::build(&root, "posthouse-bench-journal", "posthouse-bench-journal")?;
    let source = Source::Debian { package: "strace" };
    let strace = install::require(&root, "strace", source, options.install)?;
    let loads = |arguments: &[&str]| {
        let mut command = Command::new(&load);
        command.args(["--json", "--folder"]).arg(&folder).args(arguments);
        command
    };
    let synced = trace(&strace, &load, &folder)?;
    eprintln!("{synced} answers, each after an fsync of its own");
    let seconds = options.seconds.to_string();
    let appends: Appends = one(&mut loads(&["appends", "--seconds", &seconds]))?;
    let mut mixed: Vec<Minute> = Vec::new();
    if options.minutes > 0 {
        mixed = lines(&mut loads(&["mixed", "--minutes", &options.minutes.to_string()]))?;
    }
    let mut start: Option<Start> = None;
    if options.events > 0 {
        start = Some(one(&mut loads(&["start", "--events", &options.events.to_string()]))?);
    }
    let text = describe(&Machine::here(&root), synced, &appends, &mixed, start.as_ref());
    print!("{text}");
    if options.write {
        report::write_section(&root, "journal", &text)?;
    }
    let broken = broken_promises(&appends, &mixed, start.as_ref());
    ensure!(broken.is_empty(), "not as promised: {}", broken.join("; "));
    Ok(())
}

fn one<T: for<'t> Deserialize<'t>>(load: &mut Command) -> anyhow::Result<T> {
    lines(load)?.pop().context("the load printed nothing")
}

fn lines<T: for<'t> Deserialize<'t>>(load: &mut Command) -> anyhow::Result<Vec<T>> {
    eprintln!("{load:?}");
    let output = load.stderr(Stdio::inherit()).output().context("start the load")?;
    ensure!(output.status.success(), "the load ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// How many answers were given, each with an fsync that had returned since the one before.
fn trace(strace: &Path, load: &Path, folder: &Path) -> anyhow::Result<usize> {
    let log = folder.join("strace.log");
    let mut command = Command::new(strace);
    command.args(["-f", "-tt", "-y", "-s", "32", "-e", "trace=fsync,fdatasync,write", "-o"]);
    command.arg(&log).arg(load).arg("--folder").arg(folder);
    command.args(["trace", "--appends", &TRACED.to_string()]).stdout(Stdio::null());
    let status = command.status().context("start strace")?;
    ensure!(status.success(), "strace ended with {status}");
    let text = std::fs::read_to_string(&log)?;
    check_trace(&text)
}

fn check_trace(log: &str) -> anyhow::Result<usize> {
    let (mut answers, mut synced) = (0, 0);
    // `-f` splits a call that another thread interrupts in two lines: it has returned at the second.
    let mut under_way: Vec<&str> = Vec::new();
    for line in log.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default();
        let is_sync = line.contains("fsync(") || line.contains("fdatasync(");
        if is_sync && line.contains("-wal>") && line.ends_with("<unfinished ...>") {
            under_way.push(thread);
        } else if is_sync && line.contains("-wal>") && line.ends_with("= 0") {
            synced += 1;
        } else if line.contains("sync resumed>") && line.ends_with("= 0") {
            if let Some(place) = under_way.iter().position(|other| *other == thread) {
                under_way.swap_remove(place);
                synced += 1;
            }
        } else if line.contains("write(") && line.contains("\"confirmed ") {
            if synced == 0 {
                bail!("an answer without an fsync before it: {line}");
            }
            (answers, synced) = (answers + 1, 0);
        }
    }
    ensure!(answers == TRACED, "{answers} answers were seen of {TRACED}");
    Ok(answers)
}

fn broken_promises(appends: &Appends, mixed: &[Minute], start: Option<&Start>) -> Vec<String> {
    let mut broken = Vec::new();
    for row in &appends.rows {
        // One writer that waits for each of its batches cannot be faster than the disk.
        let best = row.journal.iter().map(|one| one.share_of_sqlite).fold(0.0, f64::max);
        if best < SHARE {
            let share = 100.0 * best;
            broken.push(format!("{share:.0} % of SQLite's appends at {} a batch", row.batch));
        }
    }
    let later = mixed.get(mixed.len() / 2..).unwrap_or_default();
    if let [first, .., last] = later
        && float(last.file_mib) > float(first.file_mib) * GROWTH
    {
        broken.push(format!("the file grew from {} to {} MiB", first.file_mib, last.file_mib));
    }
    if let Some(Start { open_ms, checkpoint_ms, tail_ms, .. }) = start
        && open_ms + checkpoint_ms + tail_ms > START_MS
    {
        broken.push(format!("started in {} ms", open_ms + checkpoint_ms + tail_ms));
    }
    broken
}

fn describe(
    machine: &Machine,
    synced: usize,
    appends: &Appends,
    mixed: &[Minute],
    start: Option<&Start>,
) -> String {
    let mut table = Table::new(&[
        "events of a batch",
        "SQLite alone",
        "writers",
        "journal",
        "of SQLite",
        "p50 ms",
        "p99 ms",
    ]);
    for row in &appends.rows {
        for one in &row.journal {
            table.row(vec![
                row.batch.to_string(),
                format!("{:.0}", row.sqlite),
                one.writers.to_string(),
                format!("{:.0}", one.events_per_second),
                format!("{:.0} %", one.share_of_sqlite * 100.0),
                format!("{:.2}", super::milliseconds(one.p50_us)),
                format!("{:.2}", super::milliseconds(one.p99_us)),
            ]);
        }
    }
    let size = appends.size;
    let mut text = format!(
        "Machine: {machine}.\\\nDurable appends of events of {size} bytes, events/s. `strace` saw \
         {synced} answers, each after an fsync of the write-ahead log.\n\n{table}"
    );
    // Writing to a String cannot fail.
    if let Some(start) = start {
        let Start { events, file_bytes, open_ms, checkpoint_ms, tail_ms } = start;
        let _ = write!(
            text,
            "\nWith {events} events ({} MiB): opened in {open_ms} ms, its checkpoint read in \
             {checkpoint_ms} ms, what came after it in {tail_ms} ms.\n",
            file_bytes >> 20
        );
    }
    if !mixed.is_empty() {
        let _ =
            write!(text, "\nAppends, reads and removals at the same time:\n\n{}", table_of(mixed));
    }
    text
}

/// At most a dozen of the minutes, evenly spread, and the last.
fn table_of(minutes: &[Minute]) -> Table {
    let mut table = Table::new(&[
        "minute",
        "appended/s",
        "removed/s",
        "read/s",
        "append p50 ms",
        "append p99 ms",
        "append max ms",
        "read p99 ms",
        "file MiB",
        "log MiB",
    ]);
    let step = minutes.len().div_ceil(12);
    let last = minutes.len() - 1;
    for (place, minute) in minutes.iter().enumerate() {
        if place % step != 0 && place != last {
            continue;
        }
        let rate = |count: u64| (count / 60).to_string();
        let milliseconds = |us| format!("{:.2}", super::milliseconds(us));
        table.row(vec![
            minute.minute.to_string(),
            rate(minute.appended),
            rate(minute.removed),
            rate(minute.read),
            milliseconds(minute.append_p50_us),
            milliseconds(minute.append_p99_us),
            milliseconds(minute.append_max_us),
            milliseconds(minute.read_p99_us),
            minute.file_mib.to_string(),
            minute.log_mib.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: &str = "7 09:00:00.1 fdatasync(11</d/journal.db-wal>) = 0\n";
    const PARTS: &str = "7 09:00:00.1 fsync(11</d/journal.db-wal> <unfinished ...>\n\
                         8 09:00:00.2 write(3</d/x>, \"y\", 1) = 1\n\
                         7 09:00:00.3 <... fsync resumed>) = 0\n";
    const ANSWER: &str = "8 09:00:00.4 write(1</dev/null>, \"confirmed 1\\n\", 12) = 12\n";

    #[test]
    fn every_answer_needs_an_fsync_that_has_returned() {
        let all = [SYNC, ANSWER, PARTS, ANSWER].concat().repeat(TRACED / 2);
        assert_eq!(check_trace(&all).unwrap(), TRACED);
        let other = SYNC.replace("journal.db-wal", "journal.db");
        let begun = PARTS.lines().next().unwrap();
        for wrong in ["", &other, begun, &SYNC.replace("= 0", "= -1 EIO")] {
            let log = [wrong, "\n", ANSWER, SYNC, ANSWER].concat().repeat(TRACED / 2);
            assert!(check_trace(&log).is_err(), "{wrong}");
        }
    }
}
