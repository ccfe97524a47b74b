//! Programs in Python, run by the interpreter of the tests' own environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::output_of;

/// The environment that `cargo xtask test` sets up.
#[must_use]
pub fn venv() -> PathBuf {
    crate::environment("POSTHOUSE_VENV", "venv")
}

/// A program that a Python package brought along, such as `traefik`.
#[must_use]
pub fn tool(name: &str) -> Command {
    Command::new(venv().join("bin").join(name))
}

/// A command that runs `script` in `folder` with the environment's interpreter. What it imports
/// is also looked for in `modules`.
#[must_use]
pub fn script(script: &Path, folder: &Path, modules: &Path) -> Command {
    let mut command = tool("python");
    command
        .arg(script)
        .current_dir(folder)
        .env("PYTHONPATH", modules)
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Generates the message and service modules of `proto` into `out`.
pub async fn generate_stubs(proto: &Path, out: &Path) {
    let folder = proto.parent().expect("a proto is in a folder");
    let mut command = tool("python");
    command
        .args(["-m", "grpc_tools.protoc"])
        .arg(format!("-I{}", folder.display()))
        .arg(format!("--python_out={}", out.display()))
        .arg(format!("--grpc_python_out={}", out.display()))
        .arg(proto);
    output_of(command).await;
}
