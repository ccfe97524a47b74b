//! Files that the configuration names are loaded when it is checked.

use std::fs;
use std::path::Path;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use serde_json::{Value, json};

use super::{checked, findings};

fn pair() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec!["shop.example".into()]).unwrap()
}

/// What is found when these files are there, with `DIR` for their folder.
fn found(files: &[(&str, &str)], written: Value) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let (_, report) = checked(written, dir.path());
    let folder = dir.path().display().to_string();
    findings(&report).iter().map(|line| line.replace(&folder, "DIR")).collect()
}

fn listener(certificates: &Value) -> Value {
    json!({ "listeners": [{ "address": "127.0.0.1:0", "tls": { "certificates": certificates } }] })
}

#[test]
fn a_certificate_and_its_key_are_fine() {
    let pair = pair();
    let files = [("a.pem", &*pair.cert.pem()), ("a.key", &*pair.signing_key.serialize_pem())];
    let written = listener(&json!([{ "cert": "a.pem", "key": "a.key" }]));
    assert_eq!(found(&files, written), [""; 0]);
}

#[test]
fn what_cannot_be_served_is_said_where_it_stands() {
    let (pair, other) = (pair(), pair());
    let files = [
        ("a.pem", &*pair.cert.pem()),
        ("b.key", &*other.signing_key.serialize_pem()),
        ("text", "hello"),
    ];
    let written = listener(&json!([
        { "cert": "a.pem", "key": "b.key" },
        { "cert": "missing.pem", "key": "." },
        { "cert": "b.key", "key": "a.pem" },
        { "cert": "text", "key": "text" },
    ]));
    let at = "error listeners[0].tls.certificates";
    let no_certificate =
        "holds no certificate [a PEM file with `-----BEGIN CERTIFICATE-----` is wanted]";
    let no_key = "holds no private key [a PEM file with `-----BEGIN PRIVATE KEY-----` is wanted, \
                  without a password]";
    assert_eq!(
        found(&files, written),
        [
            format!("{at}[0].key: the private key does not belong to the certificate"),
            format!(
                "{at}[1].cert: cannot read DIR/missing.pem: No such file or directory (os error 2)"
            ),
            format!("{at}[1].key: cannot read DIR/.: it is not a file"),
            format!("{at}[2].cert: DIR/b.key {no_certificate}"),
            format!("{at}[2].key: DIR/a.pem {no_key}"),
            format!("{at}[3].cert: DIR/text {no_certificate}"),
            format!("{at}[3].key: DIR/text {no_key}"),
        ]
    );
}

#[test]
fn tls_without_a_certificate_is_said() {
    let (_, report) = checked(listener(&json!([])), Path::new("."));
    assert_eq!(
        findings(&report),
        ["error listeners[0].tls.certificates: TLS needs a certificate \
          [`certificates: [ { cert: FILE.pem, key: FILE.key } ]`]"]
    );
}

#[test]
fn authorities_are_loaded_too() {
    let service = |ca: &str| {
        json!({ "services": { "a": {
            "protocol": "https", "tls": { "ca": ca, "server_name": "a b", "insecure": true },
        } } })
    };
    let files = [("ca.pem", &*pair().cert.pem())];
    let rest = [
        "error services.a.tls.server_name: `a b` is no name of a server",
        "warning services.a.tls.insecure: any certificate is accepted: whoever is in between can \
         read all",
    ];
    assert_eq!(found(&files, service("ca.pem")), rest);
    let missing = "error services.a.tls.ca: cannot read DIR/no.pem: No such file or directory \
                   (os error 2)";
    assert_eq!(found(&files, service("no.pem")), [rest[0], rest[1], missing]);
}
