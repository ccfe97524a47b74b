//! The program that writes to a journal until it is killed (`journal-writer`), and what it says.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use posthouse_journal::Position;
use posthouse_journal::sqlite::{Options, Sqlite, Synchronous};

use crate::disk::Disk;
use crate::ledger::{Confirmed, Ledger};

/// A running writer, killed on drop.
#[derive(Debug)]
pub struct Scribe {
    child: Child,
    out: BufReader<ChildStdout>,
}

/// Something that it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has found what was written before, and writes.
    Ready,
    /// A batch was confirmed.
    Confirmed(Confirmed),
    /// A batch was not confirmed, for this reason.
    Failed(String),
    /// The journal cannot write, for this reason.
    Out(String),
    /// The journal can write again.
    Serving,
    /// A reader has gone through all facts.
    Read,
}

impl Scribe {
    /// Starts `program`, the path of `journal-writer`, on a folder.
    pub fn start(
        program: &str,
        folder: &Path,
        writers: u64,
        synchronous: Synchronous,
        disk: Option<&Disk>,
    ) -> Self {
        let mut command = Command::new(program);
        command.arg(folder).arg(writers.to_string()).env("RUST_BACKTRACE", "0");
        if synchronous == Synchronous::Off {
            command.arg("unsynced");
        }
        if let Some(disk) = disk {
            disk.watch(&mut command);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the writer starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, out }
    }

    /// What it says next; `None` once it is gone and everything was read.
    pub fn hear(&mut self) -> Option<Said> {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("its output");
        // A line that the kill cut short was not said.
        let line = line.strip_suffix('\n')?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "ready" => Said::Ready,
            "ok" => Said::Confirmed(confirmed(rest)),
            "err" => Said::Failed(rest.splitn(3, ' ').last().unwrap_or_default().to_owned()),
            "out" => Said::Out(rest.to_owned()),
            "serving" => Said::Serving,
            "read" => Said::Read,
            _ => panic!("the writer says {line:?}"),
        })
    }

    /// Listens, and notes what is confirmed, until it says what is waited for.
    pub fn hear_until(&mut self, ledger: &mut Ledger, mut awaited: impl FnMut(&Said) -> bool) {
        loop {
            let said = self.hear().expect("the writer lives");
            if let Said::Confirmed(confirmed) = said {
                ledger.note(confirmed);
            }
            if awaited(&said) {
                return;
            }
        }
    }

    /// Kills it at once, and notes what it had confirmed until then.
    pub fn kill(mut self, ledger: &mut Ledger) {
        self.child.kill().expect("it runs");
        while let Some(said) = self.hear() {
            if let Said::Confirmed(confirmed) = said {
                ledger.note(confirmed);
            }
        }
    }

    /// Fails if it ended by itself.
    pub fn lives(&mut self) {
        let ended = self.child.try_wait().expect("a child can be waited for");
        assert_eq!(ended, None, "the writer ended");
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Judges the journal of a folder whose writers are gone.
///
/// # Errors
/// When something is not as it must be.
pub async fn judge(folder: &Path, writers: u64, ledger: &mut Ledger) -> Result<(), String> {
    let journal = Sqlite::open(folder, &posthouse_journal::Config::default(), Options::default());
    let journal = journal.map_err(|error| format!("it does not open: {error}"))?;
    ledger.check(&journal, writers).await
}

fn confirmed(words: &str) -> Confirmed {
    let numbers: Vec<u64> = words.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [writer, batch, fact, work] = numbers[..] else { panic!("the writer says ok {words:?}") };
    Confirmed { writer, batch, fact: Position::new(fact), work: Position::new(work) }
}
