//! Programs under measurement: each in a process group of its own, pinned to a core when asked,
//! measured as a whole from `/proc`, and gone when its [`Group`] is dropped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// `USER_HZ`: the unit of times in `/proc/PID/stat` is part of Linux's interface, 1/100 s.
const TICKS_PER_SECOND: f64 = 100.0;

/// Enough for ten thousand instances on both sides of a proxy.
const DESCRIPTORS: u64 = 65_536;

/// What is started, before it is.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(&'static str, OsString)>,
}

/// A running program with all its threads and children.
pub(crate) struct Group {
    child: Child,
    log: PathBuf,
}

/// What a group has used since it began, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) resident_kib: u64,
}

impl Launch {
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(OsString::from));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// `core` pins by `taskset`, which replaces itself by the program: threads that the program
    /// starts first are pinned too, and the process id is the program's.
    pub(crate) fn command(&self, core: Option<usize>) -> Command {
        let mut command = match core {
            None => Command::new(&self.program),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(&self.program);
                command
            }
        };
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the program; what it prints goes to `log`.
    pub(crate) fn spawn(&self, core: Option<usize>, log: &Path) -> anyhow::Result<Group> {
        use std::os::unix::process::CommandExt as _;
        let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let child = self
            .command(core)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        Ok(Group { child, log: log.to_owned() })
    }
}

impl Group {
    pub(crate) fn id(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Sends a signal to every process of the group.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        killpg(self.id()?, signal).with_context(|| format!("send {signal}"))
    }

    /// Fails, with the end of what it printed, when the program has ended.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            bail!("it ended with {status}:\n{}", last.join("\n"));
        }
        Ok(())
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage::default();
        for pid in self.members()? {
            // A process may end between the listing and this.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let one = parse_stat(&stat).context("/proc/PID/stat")?;
            sum.user_seconds += one.user_seconds;
            sum.system_seconds += one.system_seconds;
            sum.resident_kib += parse_resident(&status).unwrap_or(0);
        }
        ensure!(sum.resident_kib > 0, "it is not running");
        Ok(sum)
    }

    /// Every process of the group.
    pub(crate) fn members(&self) -> anyhow::Result<Vec<i32>> {
        let group = self.id()?.as_raw();
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if parse_stat(&stat).is_some_and(|stat| stat.group == group) {
                members.push(pid);
            }
        }
        Ok(members)
    }

    /// Waits until the program has nothing more to do: start-up work is not the load's.
    pub(crate) fn wait_idle(&self) -> anyhow::Result<Usage> {
        const WINDOW: Duration = Duration::from_millis(500);
        const LIMIT: Duration = Duration::from_secs(120);
        let begun = Instant::now();
        let mut before = self.usage()?;
        loop {
            thread::sleep(WINDOW);
            let now = self.usage()?;
            // Two clock ticks of half a second: background work goes on, start-up has ended.
            if now.cpu_seconds() - before.cpu_seconds() <= 0.02 || begun.elapsed() > LIMIT {
                return Ok(now);
            }
            before = now;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Usage {
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

struct Stat {
    group: i32,
    user_seconds: f64,
    system_seconds: f64,
}

/// Fields by proc(5); the name before them may hold spaces and brackets, so they count from its end.
/// Times are those of all threads.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat {
        group: fields.get(2)?.parse().ok()?,
        user_seconds: ticks(11)? / TICKS_PER_SECOND,
        system_seconds: ticks(12)? / TICKS_PER_SECOND,
    })
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Raises this process's own limit of open files, which the programs inherit.
pub(crate) fn raise_descriptor_limit() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < DESCRIPTORS
        && setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS)).is_err()
    {
        // Only root may raise the hard limit; the small cases do with it.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_group_are_read_after_a_name_with_brackets() {
        let stat = "7 (a b) c) S 1 42 42 0 -1 4194560 1 2 3 4 250 125 0 0 20 0 1 0 5 6 7";
        let stat = parse_stat(stat).unwrap();
        assert_eq!((stat.group, stat.user_seconds, stat.system_seconds), (42, 2.5, 1.25));
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    7012 kB\n"), Some(7012));
        assert!(parse_stat("7 (x").is_none());
    }

    #[test]
    fn a_group_is_measured_and_gone_when_dropped() {
        let log = std::env::temp_dir().join(format!("bench-group-{}", std::process::id()));
        let group = Launch::new("sleep").arg("60").spawn(None, &log).unwrap();
        assert!(group.usage().unwrap().resident_kib > 0);
        let id = group.id().unwrap();
        drop(group);
        assert!(killpg(id, None).is_err());
        std::fs::remove_file(log).unwrap();
    }
}
