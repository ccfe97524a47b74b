//! Finds the programs that a benchmark needs, builds ours, and says in one line how to get one that
//! is missing. Only with `--install` is anything installed, and then by the ordinary clients: apt-get
//! as root, pip into `target/venv-bench`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use nix::unistd::geteuid;

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Debian {
        package: &'static str,
    },
    /// By `bench/requirements.txt`.
    Python,
}

impl Source {
    /// The line that a person would type.
    pub(crate) fn install_line(self) -> String {
        match self {
            Self::Debian { package } => format!("apt-get install {package}"),
            Self::Python => format!(
                "python3 -m venv {VENV} && {VENV}/bin/pip install -r bench/requirements.txt"
            ),
        }
    }
}

const VENV: &str = "target/venv-bench";

/// Where this program is, if it is anywhere. Debian keeps servers in `sbin`, which a user's PATH
/// often leaves out.
pub(crate) fn find(root: &Path, program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([root.join(VENV).join("bin"), "/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Like [`find`], installing first when allowed; otherwise the error tells what to type.
pub(crate) fn require(
    root: &Path,
    program: &str,
    source: Source,
    install: bool,
) -> anyhow::Result<PathBuf> {
    if let Some(found) = find(root, program) {
        return Ok(found);
    }
    if install {
        run_install(root, source)?;
    }
    find(root, program)
        .with_context(|| format!("{program} is not installed: `{}`", source.install_line()))
}

fn run_install(root: &Path, source: Source) -> anyhow::Result<()> {
    eprintln!("installing: {}", source.install_line());
    match source {
        Source::Debian { package } => {
            if !geteuid().is_root() {
                bail!("only root can `{}`", source.install_line());
            }
            succeed(Command::new("apt-get").args(["install", "-y", "-q", package]))
        }
        Source::Python => {
            let venv = root.join(VENV);
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let requirements = root.join("bench/requirements.txt");
            let pip = venv.join("bin/pip");
            succeed(Command::new(pip).args(["install", "-q", "-r"]).arg(requirements))
        }
    }
}

/// Runs a command whose output is progress, not our result.
fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdout(Stdio::null()).status().context("start an installer")?;
    ensure!(status.success(), "`{command:?}` ended with {status}");
    Ok(())
}

/// Names a Posthouse to measure in place of this tree's, to compare two builds.
const POSTHOUSE: &str = "POSTHOUSE_BINARY";

/// The Posthouse to measure: built from this tree, unless another is named.
pub(crate) fn posthouse(root: &Path) -> anyhow::Result<PathBuf> {
    match env::var_os(POSTHOUSE) {
        Some(program) => Ok(PathBuf::from(program)),
        None => build(root, "posthouse", "posthouse"),
    }
}

/// Builds one of our programs as released, and says where it is.
pub(crate) fn build(root: &Path, package: &str, binary: &str) -> anyhow::Result<PathBuf> {
    eprintln!("building {package}");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--package", package, "--bin", binary])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "building {package} failed");
    let messages = String::from_utf8(output.stdout)?;
    executable(&messages, binary).with_context(|| format!("cargo named no program for {package}"))
}

fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == binary)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"x"},"executable":"/t/release/x"}
{"reason":"build-finished"}"#;
        assert_eq!(executable(messages, "x"), Some(PathBuf::from("/t/release/x")));
        assert_eq!(executable(messages, "y"), None);
    }
}
