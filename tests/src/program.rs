//! A program in a process of its own: its output goes to a log file, it is killed on drop, and
//! its log is shown when the test fails.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{ensure, eventually};

/// How many of the log's last lines a failing test shows.
const SHOWN_LINES: usize = 200;

/// A started program.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` with both outputs going to `LOGS/NAME.log`.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Self {
        let log = logs.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let errors = out.try_clone().expect("the log file twice");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, log, ended: None }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("{} takes no {signal}: {error}", self.name));
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), || {
            let ended = self.ended();
            async move { ended.ok_or("it is still running") }
        })
        .await
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub async fn stop(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            self.signal(Signal::SIGTERM);
        }
        self.wait().await
    }

    /// Ends it at once (SIGKILL) and waits for it.
    pub async fn kill(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            self.signal(Signal::SIGKILL);
        }
        self.wait().await
    }

    /// Waits until its log contains `text`; fails early when it ends before.
    pub async fn says(&mut self, text: &str) {
        let what = format!("{} to say {text:?}", self.name);
        eventually(&what, || {
            let log = self.log();
            let said = log.contains(text);
            assert!(said || self.ended().is_none(), "{} ended:\n{log}", self.name);
            async move { ensure(said, || "it has not".to_owned()) }
        })
        .await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // It may end between the look and the kill; gone is what it should be.
            let _already_gone = self.child.kill();
            let _status = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("---- log of {} ----\n{}\n----", self.name, shown.join("\n"));
        }
    }
}

/// Runs a command to its end and returns its standard output; panics with both outputs when it
/// fails.
pub async fn output_of(command: Command) -> String {
    let (status, out, errors) = run_to_end(command).await;
    assert!(status.success(), "{status}\n{out}\n{errors}");
    out
}

/// Runs a command to its end, within the usual patience: status, standard output and error.
pub async fn run_to_end(command: Command) -> (ExitStatus, String, String) {
    run_within(command, crate::wait::PATIENCE * 2).await
}

/// Runs a program to its end, which may take so long.
pub async fn run_within(command: Command, patience: Duration) -> (ExitStatus, String, String) {
    let what =
        format!("{:?} {:?}", command.get_program(), command.get_args().collect::<Vec<&OsStr>>());
    let mut command = tokio::process::Command::from(command);
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let done = tokio::time::timeout(patience, running)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .unwrap_or_else(|error| panic!("{what} does not start: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status, text(&done.stdout), text(&done.stderr))
}
