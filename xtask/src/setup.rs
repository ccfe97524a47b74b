//! What the end-to-end and interoperability tests need besides Rust: programs from Debian, and
//! environments for Python and Node with pinned packages.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::steps::run_command;
use crate::{target, workspace};

/// Programs that must be on the path, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 6] = [
    ("curl", "curl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3-venv"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("victoria-metrics", "victoria-metrics"),
];

/// What is missing, and cannot be installed from here.
#[derive(Debug)]
pub(crate) struct Missing(Vec<&'static str>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the tests need these Debian packages:")?;
        for package in &self.0 {
            writeln!(f, "  {package}")?;
        }
        write!(f, "install them with: sudo apt-get install {}", self.0.join(" "))
    }
}

impl std::error::Error for Missing {}

/// Sets everything up.
///
/// # Errors
/// [`Missing`] when packages are missing and this user cannot install them.
pub(crate) fn run() -> anyhow::Result<()> {
    install_packages()?;
    python_environment()?;
    node_environment()?;
    test_node_environment()?;
    Ok(())
}

/// Installs the Debian packages whose programs are missing, or says which they are.
fn install_packages() -> anyhow::Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() || find_program("apt-get").is_none() {
        return Err(Missing(missing).into());
    }
    println!("installing {}", missing.join(", "));
    run_command(apt_get().args(["update", "-qq"]))?;
    let install = ["install", "-qq", "--yes", "--no-install-recommends"];
    run_command(apt_get().args(install).args(&missing))?;
    let missing = missing_packages();
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing).into()) }
}

/// The Python environment of the tests.
pub(crate) fn python_environment() -> anyhow::Result<PathBuf> {
    environment("venv", "tests/python/requirements.txt", |venv, requirements| {
        run_command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
        let mut install = Command::new(venv.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run_command(install.arg("--requirement").arg(requirements))
    })
}

/// The packages of the examples in Node: a folder with `node_modules`.
pub(crate) fn node_environment() -> anyhow::Result<PathBuf> {
    node_packages("node", "examples/node/package.json")
}

/// The packages in Node that only the tests meet.
pub(crate) fn test_node_environment() -> anyhow::Result<PathBuf> {
    node_packages("test-node", "tests/node/package.json")
}

fn node_packages(kind: &str, list: &str) -> anyhow::Result<PathBuf> {
    environment(kind, list, |folder, manifest| {
        std::fs::copy(manifest, folder.join("package.json"))?;
        let mut install = Command::new("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]);
        run_command(install.arg("--ignore-scripts").current_dir(folder))
    })
}

/// A folder below `TARGET/KIND`, filled once for each content of `list` and marked as ready when
/// it is whole.
fn environment(
    kind: &str,
    list: &str,
    fill: impl FnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let list = workspace().join(list);
    let text = std::fs::read_to_string(&list)
        .with_context(|| format!("{} cannot be read", list.display()))?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let folder = target()?.join(kind).join(format!("{:016x}", hasher.finish()));
    let ready = folder.join("ready");
    if !ready.exists() {
        println!("filling {} with the packages of {}", folder.display(), list.display());
        std::fs::create_dir_all(&folder)?;
        fill(&folder, &list)?;
        std::fs::write(ready, "")?;
    }
    Ok(folder)
}

/// Where a program is on the path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps servers where a user's path often does not lead.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn missing_packages() -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|(program, _)| find_program(program).is_none());
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    if !python_can_make_environments() {
        packages.push("python3-venv");
    }
    packages
}

/// Debian's Python leaves the module that fills a new environment to a package of its own.
fn python_can_make_environments() -> bool {
    let probe = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    probe.is_ok_and(|done| done.status.success())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Servers are installed to be started by tests: in this run level none is started as a service.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command.current_dir(Path::new("/"));
    command
}
