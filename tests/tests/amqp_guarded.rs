//! How the broker lets clients in (over TLS, by certificate, with a pause for a wrong password), lets
//! go of those that give no sign of life, and holds back those that publish too much: as pika sees
//! it. What is asked is in `tests/python/pika_guarded.py`.

use std::path::Path;

use posthouse_tests::house::new_folder;
use posthouse_tests::program::output_of;
use posthouse_tests::{House, python, workspace};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

async fn ask(house: &House, port: u16, topic: &str) {
    let script = workspace().join("tests/python/pika_guarded.py");
    let mut command = python::script(&script, house.folder(), house.folder());
    command.arg(port.to_string()).arg(topic).arg(house.folder());
    assert_eq!(output_of(command).await.trim(), "ok", "{topic}");
}

/// An authority of this name, and its certificate.
fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (Issuer::new(params, key), certificate.pem())
}

/// Writes a certificate for this name, with its key, into the folder.
fn certify(folder: &Path, file: &str, name: &str, issuer: &Issuer<'_, KeyPair>) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    std::fs::write(folder.join(format!("{file}.pem")), certificate.pem()).expect("a file");
    std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).expect("a file");
}

#[tokio::test]
async fn tls_and_certificates_of_clients() {
    let folder = new_folder();
    let (issuer, pem) = authority("ours");
    std::fs::write(folder.path().join("authority.pem"), pem).expect("a file");
    let (stranger, _) = authority("another");
    certify(folder.path(), "house", "house", &issuer);
    certify(folder.path(), "mailer", "mailer", &issuer);
    certify(folder.path(), "nobody", "nobody", &issuer);
    certify(folder.path(), "forged", "mailer", &stranger);
    let config = "
messages:
  address: 127.0.0.1:0
  tls: { address: 127.0.0.1:0, cert: house.pem, key: house.key, clients: authority.pem }
  users: [ { name: clerk, password: secret }, { name: mailer, password: unused } ]
";
    let house = House::start_in(folder, config, &[]).await;
    let port = house.messages_tls().port();
    ask(&house, port, "tls").await;
    ask(&house, port, "external").await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_after_a_pause() {
    let house = House::start("messages: { address: 127.0.0.1:0 }").await;
    ask(&house, house.messages().port(), "password").await;
    let log = house.log();
    assert!(log.contains("a client was not let in: 403 ACCESS_REFUSED"), "{log}");
    assert!(!log.contains("wrong"), "a password is in the log: {log}");
}

#[tokio::test]
async fn who_gives_no_sign_of_life_is_let_go() {
    let house = House::start("messages: { address: 127.0.0.1:0 }").await;
    ask(&house, house.messages().port(), "heartbeats").await;
    assert!(house.log().contains("missed heartbeats from client"), "{}", house.log());
}

#[tokio::test]
async fn publishers_are_blocked_while_memory_is_full() {
    let limits = "limits: { memory: 200KiB }";
    let house = House::start(&format!("messages: {{ address: 127.0.0.1:0, {limits} }}")).await;
    ask(&house, house.messages().port(), "memory").await;
}
