//! The rules of the house that a compiler does not keep: who may depend on whom, and how large a
//! file may grow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::program::output_of;
use posthouse_tests::workspace;
use serde_json::Value;

/// No file of code is longer than this.
const MAX_LINES: usize = 800;

/// Every pillar and what all stand on, each with the crates of ours that it may use. The server
/// wires them all; what is missing here may use none.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("posthouse-base", &[]),
    ("posthouse-probe", &["posthouse-base"]),
    ("posthouse-journal", &["posthouse-base"]),
    ("posthouse-expression", &[]),
    ("posthouse-gateway", &["posthouse-base", "posthouse-probe", "posthouse-expression"]),
    ("posthouse-registry", &["posthouse-base", "posthouse-probe", "posthouse-journal"]),
    ("posthouse-identity", &["posthouse-base", "posthouse-journal"]),
    ("posthouse-broker", &["posthouse-base", "posthouse-journal"]),
    ("posthouse-catalog", &["posthouse-base", "posthouse-journal"]),
    ("posthouse-telemetry", &["posthouse-base"]),
    ("posthouse-resident", &[]),
    ("posthouse-bench-journal", &["posthouse-base", "posthouse-journal"]),
    (
        "posthouse",
        &[
            "posthouse-base",
            "posthouse-probe",
            "posthouse-journal",
            "posthouse-gateway",
            "posthouse-registry",
            "posthouse-identity",
            "posthouse-broker",
            "posthouse-catalog",
            "posthouse-telemetry",
            "posthouse-resident",
            "posthouse-shop",
        ],
    ),
    ("posthouse-tests", &["posthouse-base", "posthouse-journal"]),
];

#[tokio::test]
async fn no_pillar_depends_on_another() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    command.current_dir(workspace());
    let metadata = output_of(command).await;
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let allowed = BTreeMap::from(ALLOWED);
    let mut seen = BTreeSet::new();
    let mut edges = 0;
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        seen.insert(name);
        let may_use = allowed.get(name).copied().unwrap_or_default();
        let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
        let ours = dependencies.iter().filter(|dependency| dependency["path"].is_string());
        for used in ours.filter_map(|dependency| dependency["name"].as_str()) {
            assert!(may_use.contains(&used), "{name} must not depend on {used}");
            edges += 1;
        }
    }
    assert!(edges > 5, "the dependencies were not found: {edges}");
    for (name, _) in ALLOWED {
        assert!(seen.contains(name), "there is no {name} any more: take it out of the list");
    }
}

#[test]
fn no_file_outgrows_its_reader_and_each_says_what_it_is() {
    let mut files = Vec::new();
    for folder in ["bench", "crates", "examples", "server", "tests", "xtask"] {
        collect(&workspace().join(folder), &mut files);
    }
    assert!(files.len() > 20, "the source tree is elsewhere: {files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines", file.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not open with what it is", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let built = path.ends_with("target") || path.ends_with("node_modules");
            if !built {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
