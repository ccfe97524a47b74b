//! The binary as its user meets it: answers, exit codes, and what is said on standard error.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

mod common;

use common::{House, folder_with, posthouse, wait_for};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    posthouse(folder).args(arguments).output().expect("posthouse starts")
}

/// `arguments` end with code 2 and one line that contains `part`.
fn refused(folder: &Path, arguments: &[&str], part: &str) {
    let output = run(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert!(errors.contains(part), "{arguments:?} did not say {part:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
}

const NAMES: &str =
    "data: ./data\nregistry: { address: 127.0.0.1:0 }\nadmin: { address: 127.0.0.1:0 }\n";

#[test]
fn what_cannot_start_says_why_in_one_line_and_ends_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    for (section, part) in [
        (format!("registry: {{ address: 127.0.0.1:{port} }}"), "is already in use"),
        (format!("admin: {{ address: 127.0.0.1:{port} }}"), "the admin API cannot listen on"),
        (format!("listeners: [ {{ address: 127.0.0.1:{port} }} ]"), "cannot listen on"),
    ] {
        let folder = folder_with("f.yaml", &format!("data: ./data\n{section}\n"));
        refused(folder.path(), &["up", "--config", "f.yaml"], part);
        refused(folder.path(), &["up", "--config", "f.yaml"], &port.to_string());
        let addresses = folder.path().join("data/addresses.json");
        assert!(!addresses.exists(), "nobody listens, so no address is told");
    }
    let folder = folder_with("a-file", "");
    refused(folder.path(), &["up", "--config", "no.yaml"], "no.yaml cannot be read");
    refused(folder.path(), &["check", "no.yaml"], "no.yaml cannot be read");
    std::fs::write(folder.path().join("f.yaml"), "data: ./a-file/x\nregistry: {}\n")
        .expect("a file");
    refused(
        folder.path(),
        &["up", "--config", "f.yaml"],
        "the data folder ./a-file/x cannot be made",
    );
    refused(
        folder.path(),
        &["up", "--config", "f.yaml", "--only", "admin"],
        "has no `admin` section",
    );
    refused(folder.path(), &["up", "--log", "a=b=c"], "is not a log filter");
}

#[test]
fn a_missing_certificate_is_told_with_its_place() {
    let text = "listeners:\n  - address: 127.0.0.1:0\n    tls: { certificates: [ { cert: no.pem, key: no.key } ] }\n";
    let folder = folder_with("f.yaml", text);
    for command in [&["check", "f.yaml"][..], &["up", "--config", "f.yaml"]] {
        let output = run(folder.path(), command);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("f.yaml:3:36: error: listeners[0].tls.certificates[0].cert"),
            "{said}"
        );
    }
}

#[test]
fn check_ends_with_0_for_a_file_that_can_be_run_and_2_for_one_that_cannot() {
    let folder = folder_with("good.yaml", NAMES);
    let good = run(folder.path(), &["check", "good.yaml"]);
    assert_eq!(good.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&good.stdout), "good.yaml is fine\n");
    std::fs::write(folder.path().join("bad.yaml"), "registri: {}\n").expect("a file");
    let bad = run(folder.path(), &["check", "bad.yaml", "--output", "json"]);
    assert_eq!(bad.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&bad.stdout).expect("JSON");
    assert_eq!(json["ok"], false);
    assert_eq!(json["findings"][0]["help"], "did you mean `registry`?");
}

#[test]
fn answers_for_programs_are_on_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = run(folder.path(), &["schema"]);
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(folder.path(), &["completions", shell]);
        assert!(String::from_utf8_lossy(&script.stdout).contains("posthouse"), "{shell}");
    }
}

#[test]
fn every_command_has_help_and_usage_errors_end_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in
        ["up", "check", "schema", "demo", "services", "nodes", "routes", "reload", "completions"]
    {
        let help = run(folder.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: posthouse"), "{command}");
    }
    let help = run(folder.path(), &["--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(!help.contains("demo-service") && help.contains("Exit codes"), "{help}");
    assert_eq!(run(folder.path(), &["uup"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &[]).status.code(), Some(2));
}

#[test]
fn a_house_tells_its_addresses_is_looked_at_and_ends_in_good_order() {
    let folder = folder_with("f.yaml", NAMES);
    let (mut house, addresses) = House::start(folder.path(), &["--config", "f.yaml"]);
    let admin = addresses["admin"].as_str().expect("the admin address");
    assert_eq!(addresses["listeners"], serde_json::json!([]));
    let ask = |arguments: &[&str]| {
        let output = run(folder.path(), &[arguments, &["--admin", admin]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(ask(&["nodes"]).contains("posthouse-1  127.0.0.1"));
    let services: Value =
        serde_json::from_str(&ask(&["services", "--output", "json"])).expect("JSON");
    assert_eq!(services, serde_json::json!({ "services": [] }));
    assert_eq!(ask(&["reload"]), "the configuration is in force\n");
    let unknown = run(folder.path(), &["services", "none", "--admin", admin]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said.contains("there is no service `none`"), "{said}");

    refused(folder.path(), &["up", "--config", "f.yaml"], "is used by another Posthouse");
    assert!(folder.path().join("data/addresses.json").exists(), "the first one still has it");

    house.signal(Signal::SIGTERM);
    assert_eq!(house.ends_with(), Some(0), "{}", house.errors());
    assert!(!folder.path().join("data/addresses.json").exists());
    let gone = run(folder.path(), &["nodes", "--admin", admin]);
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn a_wrong_file_is_refused_and_a_right_one_taken_without_being_asked() {
    let folder = folder_with("f.yaml", NAMES);
    let (mut house, addresses) = House::start(folder.path(), &["--config", "f.yaml"]);
    let admin = addresses["admin"].as_str().expect("the admin address").to_owned();
    let reload = || run(folder.path(), &["reload", "--admin", &admin]);
    let replace = |text: &str| {
        std::fs::write(folder.path().join("new.yaml"), text).expect("a file");
        std::fs::rename(folder.path().join("new.yaml"), folder.path().join("f.yaml"))
            .expect("a move");
    };
    replace(&format!("{NAMES}lisners: []\n"));
    let refused = reload();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("4:1: lisners: unknown key `lisners`"), "{said}");

    // The token is asked for as soon as the changed file has been seen; nobody says so.
    replace(&NAMES.replace("admin: { ", "admin: { token: a-long-enough-secret, "));
    wait_for("the token to be asked for", || {
        let output = reload();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.contains("Unauthorized").then_some(())
    });
    let mut command = posthouse(folder.path());
    command.args(["nodes", "--admin", &admin]).env("POSTHOUSE_ADMIN_TOKEN", "a-long-enough-secret");
    assert!(command.output().expect("posthouse starts").status.success());

    house.signal(Signal::SIGINT);
    assert_eq!(house.ends_with(), Some(0));
    let log = house.errors();
    assert!(
        log.contains("the old one serves on") && !log.contains("a-long-enough-secret"),
        "{log}"
    );
}
