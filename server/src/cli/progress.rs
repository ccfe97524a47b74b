//! How far something has come, on standard error, once it takes longer than people wait without
//! asking themselves.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Nothing is shown before.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a line is renewed on a terminal, and a new one written elsewhere.
const PACES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// One piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    /// What is counted, if it is not bytes.
    unit: Option<&'static str>,
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// `what` is being done: "restoring".
    pub(crate) fn new(what: &'static str) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { what, unit: None, next: Instant::now() + PATIENCE, terminal, shown: false }
    }

    /// The same, of things that are counted.
    pub(crate) fn of(what: &'static str, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..Self::new(what) }
    }

    /// So many bytes or things are done, of so many if that is known.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + if self.terminal { PACES.0 } else { PACES.1 };
        self.shown = true;
        let of = match total {
            0 => String::new(),
            total => format!(" of {} ({} %)", self.counted(total), done.min(total) * 100 / total),
        };
        let text = format!("{}: {}{of}", self.what, self.counted(done));
        let text = if self.terminal { format!("\r{text}\x1b[K") } else { text + "\n" };
        // Nobody to tell it to is no reason to stop.
        let _unheard = io::stderr().write_all(text.as_bytes());
    }

    fn counted(&self, number: u64) -> String {
        self.unit.map_or_else(|| mebibytes(number), |unit| format!("{number} {unit}"))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.terminal {
            let _unheard = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}
