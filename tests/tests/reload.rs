//! The configuration is read again: what follows it, what is noticed, and what is left alone.

use std::path::Path;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use nix::sys::signal::Signal;
use posthouse_tests::backend::Backend;
use posthouse_tests::client::{self, Connection};
use posthouse_tests::house::new_folder;
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, eventually};
use serde_json::Value;

/// Which configuration is in force, asked with a token.
async fn version(house: &House, token: &str) -> anyhow::Result<u64> {
    let request = Request::get("/api/v1/configuration")
        .header("host", house.admin().to_string())
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())?;
    let answer = client::send(house.admin(), request).await?;
    anyhow::ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    let answer: Value = serde_json::from_slice(answer.body())?;
    answer["version"].as_u64().ok_or_else(|| anyhow::anyhow!("{answer}"))
}

/// Sends SIGHUP and waits for the log to say once more how the reload went.
async fn hang_up(house: &House, said: &str) {
    once_more(house, said, || house.signal(Signal::SIGHUP)).await;
}

/// Replaces the file and waits until it is in force.
async fn rewrite(house: &House, config: &str) {
    once_more(house, TAKEN, || house.write_config(config)).await;
}

async fn once_more(house: &House, said: &str, act: impl FnOnce()) {
    let count = || house.log().matches(said).count();
    let before = count();
    act();
    eventually("the reload", || async {
        ensure(count() > before, || format!("`{said}` is not in the log:\n{}", house.log()))
    })
    .await;
}

const TAKEN: &str = "the configuration is in force";
const UNCHANGED: &str = "the configuration is as it was";

#[tokio::test]
async fn what_has_not_changed_is_left_alone_and_a_secret_is_a_part_of_it() {
    let folder = new_folder();
    let write = |token: &str| std::fs::write(folder.path().join("token"), token).expect("a file");
    let (first, second) = ("the first of the tokens", "the second of the tokens");
    write(first);
    let secret = folder.path().join("token");
    let config = "registry: { address: 127.0.0.1:0 }\n\
                  admin: { address: 127.0.0.1:0, token: \"${file:token}\" }\n";
    let house = House::start_in(folder, config, &[]).await;
    // What was read at the start is not compared; nor what was first looked at while it was read.
    hang_up(&house, TAKEN).await;
    hang_up(&house, TAKEN).await;
    hang_up(&house, UNCHANGED).await;
    assert_eq!(version(&house, first).await.expect("a version"), 3);

    std::fs::write(&secret, second).expect("a file");
    hang_up(&house, TAKEN).await;
    assert_eq!(version(&house, second).await.expect("a version"), 4);
    assert!(version(&house, first).await.is_err());
    hang_up(&house, UNCHANGED).await;
}

/// A certificate for `localhost` in place of the one before. The time of the file stays, as with
/// tools that keep times.
fn certify(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for (name, text) in [("c.pem", made.cert.pem()), ("c.key", made.signing_key.serialize_pem())] {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        let file = std::fs::File::options().append(true).open(&path).expect("a file");
        file.set_modified(time).expect("a time");
    }
}

#[tokio::test]
async fn certificates_are_read_again_whatever_their_files_times_say() {
    let folder = new_folder();
    certify(folder.path());
    let config = "listeners:\n  - address: 127.0.0.1:0\n    tls: { certificates: [ { cert: c.pem, key: c.key } ] }\n";
    let house = House::start_in(folder, config, &[]).await;
    hang_up(&house, TAKEN).await;
    hang_up(&house, TAKEN).await;
    hang_up(&house, UNCHANGED).await;
    let loaded = || house.log().matches("certificates were loaded again").count();
    let before = loaded();
    certify(house.folder());
    hang_up(&house, TAKEN).await;
    assert!(loaded() > before, "{}", house.log());
    hang_up(&house, UNCHANGED).await;
}

#[tokio::test]
async fn the_limit_of_connections_follows() {
    let config = |limit: usize| {
        format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\n\
             gateway: {{ limits: {{ connections: {limit} }} }}\n\
             routes: [ {{ match: {{ path: / }}, respond: {{ body: here }} }} ]\n"
        )
    };
    let house = House::start(&config(1)).await;
    let call = || client::request(Method::GET, "h", "/", "");
    let mut first = Connection::open(house.gateway()).await.expect("a connection");
    first.send(call()).await.expect("the first is served");
    let mut second = Connection::open(house.gateway()).await.expect("the kernel takes it");
    {
        let waiting = second.send(call());
        tokio::pin!(waiting);
        let early = tokio::select! {
            biased;
            answer = &mut waiting => Some(answer),
            // As long as this takes, the second has not been served.
            answer = first.send(call()) => { answer.expect("the first goes on"); None }
        };
        assert!(early.is_none(), "there is room for one only");
        rewrite(&house, &config(2)).await;
        let answer = waiting.await.expect("there is room now");
        assert_eq!(answer.body().as_ref(), b"here");
    }
    rewrite(&house, &config(1)).await;
    // Both stay, and nobody is served besides until one of them has gone.
    first.send(call()).await.expect("the first goes on");
    second.send(call()).await.expect("the second goes on");
    drop(second);
    drop(first);
    client::get(house.gateway(), "h", "/").await.expect("there is room again");
}

#[tokio::test]
async fn a_service_of_the_file_becomes_the_registrys_again() {
    let (in_file, registered) = (Backend::named("file").await, Backend::named("registry").await);
    let base = "listeners: [ { address: 127.0.0.1:0, names: true } ]\n\
                registry: { address: 127.0.0.1:0 }\n";
    let with_service = |instance: std::net::SocketAddr| {
        format!("{base}services: {{ s: {{ instances: [ {{ address: \"{instance}\" }} ] }} }}\n")
    };
    let house = House::start(&with_service(in_file.address())).await;
    client::register(house.registry(), "s", "s1", registered.address()).await.expect("registered");
    let asked = || async {
        let answer = client::get(house.gateway(), "s.service.consul", "/").await?;
        anyhow::Ok(String::from_utf8_lossy(answer.body()).into_owned())
    };
    let answered_by = async |name: &str| {
        eventually("another instance to answer", || async {
            let answer = asked().await.map_err(|error| format!("{error:#}"))?;
            ensure(answer == name, || answer)
        })
        .await;
    };
    answered_by("file").await;
    house.write_config(base);
    answered_by("registry").await;
    house.write_config(&with_service(in_file.address()));
    answered_by("file").await;
    // What the registry had said before the file spoke again is not forgotten.
    house.write_config(base);
    answered_by("registry").await;
}
