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
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// `what` is being done: "restoring".
    pub(crate) fn new(what: &'static str) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { what, next: Instant::now() + PATIENCE, terminal, shown: false }
    }

    /// So many bytes are done, of so many if that is known.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + if self.terminal { PACES.0 } else { PACES.1 };
        self.shown = true;
        let of = match total {
            0 => String::new(),
            total => format!(" of {} ({} %)", mebibytes(total), done.min(total) * 100 / total),
        };
        let text = format!("{}: {}{of}", self.what, mebibytes(done));
        let text = if self.terminal { format!("\r{text}\x1b[K") } else { text + "\n" };
        // Nobody to tell it to is no reason to stop.
        let _unheard = io::stderr().write_all(text.as_bytes());
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
