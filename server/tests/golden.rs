//! What the binary tells of itself, as it was last looked at and found right: the help of every
//! command. `UPDATE_GOLDEN=1` (or `cargo xtask docs`) writes it anew, to be read before it is committed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

mod common;

use common::posthouse;

/// Compares with a file of the source tree.
fn check(file: &str, said: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, said).expect("a golden file");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == said, "{file} is out of date: run with UPDATE_GOLDEN=1\n{said}");
}

fn help(command: &[&str]) -> String {
    // Whatever the terminal: lines are wrapped at the width that no terminal has.
    let mut asked = posthouse(Path::new("."));
    let asked = asked.args(command).arg("--help").env_remove("COLUMNS");
    let output = asked.output().expect("posthouse starts");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// The commands that a help text names.
fn commands(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("\nCommands:\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // What is indented further goes on with the line before.
    let named = lines.filter(|line| !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

fn write_help(out: &mut String, command: &[&str]) {
    let text = help(command);
    let name = ["posthouse"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    write!(out, "$ {name} --help\n{text}\n").expect("writing to a string");
    for inner in commands(&text) {
        write_help(out, &[command, &[inner]].concat());
    }
}

#[test]
fn the_help_of_every_command() {
    let mut all = String::new();
    write_help(&mut all, &[]);
    assert!(all.contains("$ posthouse up --help"), "{all}");
    check("tests/golden/help.txt", &all);
}
