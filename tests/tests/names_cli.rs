//! `posthouse kv …` and `posthouse services watch`, as their users run them.

use std::path::Path;
use std::process::Command;

use posthouse_tests::House;
use posthouse_tests::client::{deregister, register, send_json};
use posthouse_tests::house::{command_in, posthouse};
use posthouse_tests::program::Program;
use serde_json::{Value, json};

/// `posthouse ARGUMENTS` for this house's registry: the exit code, standard output and error.
async fn run(house: &House, arguments: &[&str]) -> (i32, String, String) {
    let registry = format!("http://{}", house.registry());
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--registry", &registry]).collect();
    let (status, out, errors) = posthouse(house.folder(), &arguments).await;
    (status.code().unwrap_or(-1), out, errors)
}

/// The output of a run that ends well.
async fn said(house: &House, arguments: &[&str]) -> String {
    let (code, out, errors) = run(house, arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

/// The error of one that does not.
async fn failed(house: &House, arguments: &[&str], code: i32, part: &str) {
    let (is, out, errors) = run(house, arguments).await;
    assert_eq!((is, out.as_str()), (code, ""), "{arguments:?}: {errors}");
    assert!(errors.contains(part), "{arguments:?}: {errors}");
}

fn start(house: &House, name: &str, arguments: &[&str]) -> Program {
    let mut command: Command = command_in(house.folder());
    command.args(arguments).args(["--registry", &format!("http://{}", house.registry())]);
    Program::start(name, command, house.folder())
}

fn write(folder: &Path, name: &str, text: &[u8]) {
    std::fs::write(folder.join(name), text).expect("a file");
}

const CONFIG: &str = "registry: { address: 127.0.0.1:0 }\n";

#[tokio::test]
async fn keys_are_set_read_listed_and_deleted() {
    let house = House::start(CONFIG).await;
    failed(&house, &["kv", "get", "app/colour"], 1, "there is no key `app/colour`").await;
    assert_eq!(said(&house, &["kv", "put", "app/colour", "blue", "--flags", "7"]).await, "");
    assert_eq!(said(&house, &["kv", "get", "app/colour"]).await, "blue");
    write(house.folder(), "value", b"from a file\n");
    said(&house, &["kv", "put", "app/a b?ü", "@value"]).await;
    assert_eq!(said(&house, &["kv", "get", "app/a b?ü"]).await, "from a file\n");
    assert_eq!(said(&house, &["kv", "list"]).await, "app/a b?ü\napp/colour\n");
    assert_eq!(
        said(&house, &["kv", "list", "app/c", "-o", "json"]).await,
        "[\n  \"app/colour\"\n]\n"
    );
    assert_eq!(said(&house, &["kv", "list", "none/"]).await, "");

    let whole = said(&house, &["kv", "get", "app/colour", "--output", "json"]).await;
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!((&whole["value"], &whole["flags"]), (&json!("blue"), &json!(7)));
    let index = whole["modify_index"].to_string();
    failed(&house, &["kv", "put", "app/colour", "red", "--cas", "0"], 1, "is not as it was").await;
    said(&house, &["kv", "put", "app/colour", "red", "--cas", &index]).await;
    failed(&house, &["kv", "delete", "app/colour", "--cas", &index], 1, "is not as it was").await;
    said(&house, &["kv", "delete", "app/colour"]).await;
    said(&house, &["kv", "delete", "app/colour"]).await;
    said(&house, &["kv", "delete", "app/", "--recurse"]).await;
    assert_eq!(said(&house, &["kv", "list"]).await, "");
    failed(&house, &["kv", "put", "k", "@no-such-file"], 2, "no-such-file cannot be read").await;
}

#[tokio::test]
async fn keys_travel_in_consuls_own_form() {
    let house = House::start(CONFIG).await;
    let export = json!([
        { "key": "app/binary", "flags": 0, "value": "AP8=" },
        { "key": "app/text", "flags": 42, "value": "aGVsbG8=" },
    ]);
    write(house.folder(), "keys.json", export.to_string().as_bytes());
    assert_eq!(said(&house, &["kv", "import", "keys.json"]).await, "2 keys set\n");
    let exported: Value =
        serde_json::from_str(&said(&house, &["kv", "export"]).await).expect("JSON");
    assert_eq!(exported, export);
    said(&house, &["kv", "import", "keys.json", "--prefix", "copy/"]).await;
    assert_eq!(said(&house, &["kv", "get", "copy/app/text"]).await, "hello");
    let some = said(&house, &["kv", "export", "copy/"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&some).expect("JSON").as_array().map(Vec::len),
        Some(2)
    );
    // All of it is read before any of it is set.
    let broken = json!([{ "key": "new", "value": "b2s=" }, { "key": "x", "value": "*" }]);
    write(house.folder(), "broken.json", broken.to_string().as_bytes());
    failed(&house, &["kv", "import", "broken.json"], 2, "the value of `x` is not base64").await;
    failed(&house, &["kv", "get", "new"], 1, "there is no key").await;
    write(house.folder(), "no.json", b"{}");
    failed(&house, &["kv", "import", "no.json"], 2, "this is no export").await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_or_wants_a_token_is_said() {
    let config = "\
registry:
  address: 127.0.0.1:0
  tokens:
    named:
      - { name: app, secret: correct horse battery, rules: { key: { app/: write } } }
";
    let house = House::start(config).await;
    failed(&house, &["kv", "put", "app/a", "1"], 1, "403 Forbidden").await;
    let token = ["--token", "correct horse battery"];
    said(&house, &[&["kv", "put", "app/a", "1"][..], &token].concat()).await;
    assert_eq!(said(&house, &[&["kv", "get", "app/a"][..], &token].concat()).await, "1");
    let (status, _, errors) =
        posthouse(Path::new("/"), &["kv", "list", "--registry", "http://127.0.0.1:1"]).await;
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("nothing answers there"), "{errors}");
    let (status, _, errors) =
        posthouse(Path::new("/"), &["kv", "list", "--registry", "ftp://a/b"]).await;
    assert_eq!(status.code(), Some(2));
    assert!(errors.contains("is not like http://127.0.0.1:8500"), "{errors}");
    let watch = ["services", "watch", "--registry", "http://127.0.0.1:1"];
    let (status, _, errors) = posthouse(Path::new("/"), &watch).await;
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("is `posthouse up` running?"), "{errors}");
}

#[tokio::test]
async fn changes_of_keys_are_told_as_they_come() {
    let house = House::start(CONFIG).await;
    said(&house, &["kv", "put", "app/colour", "blue"]).await;
    let mut text = start(&house, "text", &["kv", "watch", "app/", "--recurse"]);
    let mut lines = start(&house, "lines", &["kv", "watch", "app/colour", "-o", "json"]);
    text.says("app/colour = blue\n").await;
    lines.says("\"value\":\"blue\"").await;
    said(&house, &["kv", "put", "app/size", "9"]).await;
    text.says("app/size = 9\n").await;
    said(&house, &["kv", "put", "app/colour", "red"]).await;
    lines.says("\"value\":\"red\"").await;
    said(&house, &["kv", "delete", "app/colour"]).await;
    text.says("app/colour deleted\n").await;
    lines.says("{\"key\":\"app/colour\",\"deleted\":true}").await;
    assert!(!lines.log().contains("size"), "{}", lines.log());
}

#[tokio::test]
async fn changes_of_services_are_told_as_they_come() {
    let mut house = House::start(CONFIG).await;
    let address = "10.0.0.1:80".parse().expect("an address");
    register(house.registry(), "web", "w1", address).await.expect("registered");
    let mut all = start(&house, "all", &["services", "watch"]);
    let mut one = start(&house, "one", &["services", "watch", "db", "--output", "json"]);
    all.says("+ web w1 10.0.0.1:80 ").await;
    register(house.registry(), "db", "d1", address).await.expect("registered");
    all.says("+ db d1 10.0.0.1:80 ").await;
    one.says(r#"{"service":"db","instances":[{"id":"d1""#).await;
    let path = "/v1/agent/service/maintenance/w1?enable=true";
    send_json(house.registry(), http::Method::PUT, path, &Value::Null).await.expect("maintenance");
    all.says("~ web w1 10.0.0.1:80 maintenance\n").await;
    deregister(house.registry(), "d1").await.expect("deregistered");
    all.says("- db d1\n").await;
    one.says(r#"{"service":"db","instances":[]}"#).await;
    assert!(!one.log().contains("web"), "{}", one.log());
    house.stop().await;
    all.says("is gone, going on with what was last known").await;
}
