//! `posthouse backup` and `posthouse restore` as their users run them: while Posthouse runs and not,
//! from a file and from the copy that is kept up.

use std::path::Path;

use http::{Method, StatusCode};
use posthouse_tests::house::{House, new_folder, posthouse};
use posthouse_tests::wait::{ensure, eventually};
use posthouse_tests::{client, raw};
use serde_json::Value;

const CONFIG: &str = "
admin: { address: 127.0.0.1:0 }
registry: { address: 127.0.0.1:0 }
";

async fn put(house: &House, key: &str, value: &str) {
    let path = format!("/v1/kv/{key}");
    let request = client::request(Method::PUT, "consul", &path, value.to_owned().into_bytes());
    let answer = client::send(house.registry(), request).await.expect("an answer");
    assert_eq!(answer.body().as_ref(), b"true", "{answer:?}");
}

async fn delete(house: &House, key: &str) {
    let request = client::request(Method::DELETE, "consul", &format!("/v1/kv/{key}"), "");
    let answer = client::send(house.registry(), request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

/// The value of a key; empty when there is no such key.
async fn value(house: &House, key: &str) -> String {
    let path = format!("/v1/kv/{key}?raw");
    let answer = client::get(house.registry(), "consul", &path).await.expect("an answer");
    let found = answer.status() == StatusCode::OK;
    if found { String::from_utf8_lossy(answer.body()).into_owned() } else { String::new() }
}

/// Runs a command that must succeed; returns what it printed.
async fn run(folder: &Path, arguments: &[&str]) -> String {
    let (status, out, errors) = posthouse(folder, arguments).await;
    assert!(status.success(), "{arguments:?}: {status}\n{out}{errors}");
    out
}

/// Runs a command that must fail; returns its exit code and its one line.
async fn refused(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let (status, out, errors) = posthouse(folder, arguments).await;
    assert_eq!((out.as_str(), errors.lines().count()), ("", 1), "{arguments:?}: {errors}");
    (status.code().expect("an exit code"), errors)
}

/// Starts a house on the data that `posthouse restore` has put into `folder`/data.
async fn start_on(folder: tempfile::TempDir) -> House {
    House::start_in(folder, CONFIG, &[]).await
}

#[tokio::test]
async fn a_running_posthouse_is_backed_up_and_restored_elsewhere() {
    let mut house = House::start(CONFIG).await;
    put(&house, "kept", "as it was").await;
    put(&house, "gone", "for now").await;
    delete(&house, "gone").await;
    let admin = format!("http://{}", house.admin());
    let files = new_folder();
    let said = run(files.path(), &["backup", "one.backup", "--admin", &admin]).await;
    assert!(said.starts_with("one.backup: the journal up to position "), "{said}");
    put(&house, "kept", "changed after").await;

    let other = new_folder();
    let file = files.path().join("one.backup").display().to_string();
    let said = run(other.path(), &["restore", &file, "--data", "data", "--output", "json"]).await;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!(said["position"].as_u64() > Some(0) && said["replaced"].is_null(), "{said}");
    let restored = start_on(other).await;
    assert_eq!(value(&restored, "kept").await, "as it was");
    assert_eq!(value(&restored, "gone").await, "");
    assert_eq!(value(&house, "kept").await, "changed after");

    // The same by its folder, while it runs and after it ended.
    let data = house.folder().join("data").display().to_string();
    run(files.path(), &["backup", "two.backup", "--data", &data]).await;
    house.stop().await;
    run(files.path(), &["backup", "three.backup", "--data", &data]).await;
    let left: Vec<_> = std::fs::read_dir(files.path()).expect("a folder").collect();
    assert_eq!(left.len(), 3, "nothing else is left: {left:?}");
    for file in ["two.backup", "three.backup"] {
        let other = new_folder();
        let file = files.path().join(file).display().to_string();
        run(other.path(), &["restore", &file, "--data", "data"]).await;
        assert_eq!(value(&start_on(other).await, "kept").await, "changed after");
    }
}

#[tokio::test]
async fn nothing_is_overwritten_by_mistake() {
    let house = House::start(CONFIG).await;
    put(&house, "kept", "as it was").await;
    let files = new_folder();
    let here = files.path();
    let admin = format!("http://{}", house.admin());
    run(here, &["backup", "good", "--admin", &admin]).await;
    let data = house.folder().join("data").display().to_string();
    let (code, said) = refused(here, &["restore", "good", "--data", &data, "--force"]).await;
    assert!(code == 2 && said.contains("is used by another Posthouse"), "{said}");

    let whole = std::fs::read(here.join("good")).expect("the backup");
    std::fs::write(here.join("short"), &whole[..whole.len() / 2]).expect("a file");
    std::fs::write(here.join("other"), "something else").expect("a file");
    for (file, why) in [
        ("short", "error: short: it is damaged: it ends too early\n"),
        ("other", "error: other: it is damaged: it does not begin as a backup does\n"),
    ] {
        let (code, said) = refused(here, &["restore", file, "--data", "new"]).await;
        assert_eq!((code, said.as_str()), (1, why));
        assert!(!here.join("new/journal.db").exists());
    }
    run(here, &["restore", "good", "--data", "new"]).await;
    let (code, said) = refused(here, &["restore", "good", "--data", "new"]).await;
    assert!(code == 2 && said.contains("--force"), "{said}");
    let said = run(here, &["restore", "good", "--data", "new", "--force"]).await;
    assert!(said.contains("what was there before is in new/replaced-"), "{said}");

    let (code, said) = refused(here, &["backup", "x", "--data", "nowhere"]).await;
    assert!(code == 2 && said.contains("there is no journal in nowhere"), "{said}");
    let (_, said) = refused(here, &["backup", "x", "--admin", "http://127.0.0.1:1"]).await;
    assert!(said.contains("is `posthouse up` running?"), "{said}");
    let (code, said) = refused(here, &["restore", "--from", ".", "--at", "yesterday"]).await;
    assert!(code == 2 && said.contains("is not a time like"), "{said}");
    assert!(!here.join("x").exists());
}

#[tokio::test]
async fn a_backup_needs_the_admin_token() {
    let token = "a-token-of-more-than-16";
    let config = format!(
        "admin: {{ address: 127.0.0.1:0, token: {token} }}\nregistry: {{ address: 127.0.0.1:0 }}\n"
    );
    let house = House::start(&config).await;
    let files = new_folder();
    let admin = format!("http://{}", house.admin());
    let (_, said) = refused(files.path(), &["backup", "x", "--admin", &admin]).await;
    assert!(said.contains("Unauthorized"), "{said}");
    run(files.path(), &["backup", "x", "--admin", &admin, "--token", token]).await;
}

/// Who takes a backup and goes away leaves nothing behind that keeps the next one from it.
#[tokio::test]
async fn a_receiver_that_goes_away_is_forgotten() {
    let house = House::start(CONFIG).await;
    let value = "x".repeat(400 << 10);
    for number in 0..8 {
        put(&house, &format!("large/{number}"), &value).await;
    }
    let mut receiver = raw::Raw::open(house.admin()).await;
    let request = format!("GET /api/v1/backup HTTP/1.1\r\nHost: {}\r\n\r\n", house.admin());
    receiver.send(request).await;
    assert!(receiver.read_head().await.starts_with("HTTP/1.1 200"));
    drop(receiver);
    eventually("another backup to be taken", || async {
        let answer = client::get(house.admin(), &house.admin().to_string(), "/api/v1/backup").await;
        let status = answer.map_err(|error| error.to_string())?.status();
        ensure(status == StatusCode::OK, || status.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_copy_is_kept_up_and_restored_to_a_time() {
    let config =
        format!("{CONFIG}journal: {{ copy: {{ folder: copy, every: 100ms, keep: 1h }} }}\n");
    let mut house = House::start(&config).await;
    let copy = house.folder().join("copy").display().to_string();
    put(&house, "stage", "first").await;
    put(&house, "removed", "still there").await;
    let files = new_folder();
    // What the copy has at its end is the first state, at some time.
    let restored = |name: &'static str, arguments: Vec<String>| {
        let (here, copy) = (files.path().to_owned(), copy.clone());
        async move {
            let mut all = vec!["restore".to_owned(), "--from".into(), copy, "--data".into()];
            all.extend([
                format!("{name}/data"),
                "--force".into(),
                "--output".into(),
                "json".into(),
            ]);
            all.extend(arguments);
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let (status, out, errors) = posthouse(&here, &all).await;
            let said: Result<Value, _> = serde_json::from_str(&out);
            said.map_err(|_| format!("{status}: {errors}"))
        }
    };
    let position = |said: &Value| said["position"].as_u64().unwrap_or_default();
    let first = eventually("the copy to have the first state", || async {
        let said = restored("try", Vec::new()).await?;
        ensure(position(&said) >= 2, || format!("{said}"))?;
        Ok::<_, String>(said)
    })
    .await;
    put(&house, "stage", "second").await;
    delete(&house, "removed").await;
    house.stop().await;

    let at = first["time"].as_str().expect("a time").to_owned();
    for (name, arguments, stage, removed) in [
        ("then", vec!["--at".to_owned(), at], "first", "still there"),
        ("end", Vec::new(), "second", ""),
    ] {
        restored(name, arguments).await.expect("the copy is sound");
        let folder = new_folder();
        std::fs::rename(files.path().join(name).join("data"), folder.path().join("data"))
            .expect("both are in the temporary folder");
        let restored = start_on(folder).await;
        assert_eq!(value(&restored, "stage").await, stage);
        assert_eq!(value(&restored, "removed").await, removed);
    }
    let (code, said) =
        refused(files.path(), &["restore", "--from", &copy, "--at", "2001-01-01 00:00"]).await;
    assert!(code == 2 && said.contains("the copy goes back to 20"), "{said}");
}
