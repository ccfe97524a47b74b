//! Consumers as operators and calls see them: declared and kept, over crashes and outages.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_journal::Journal;
use posthouse_journal::sim::{Faults, SimDisk, SimJournal};
use serde_json::json;

use super::{
    Actor, Consumers, Declared, Error, KeyNumber, Limits, Origin, PublicKey, Raw, Refusal, Spec,
    Wanted,
};
use crate::directory::Directory as _;
use crate::signature::Algorithm;
use crate::state::Hash;

fn root() -> Actor {
    Actor::new("root")
}

fn spec(plan: &str) -> Spec {
    Spec { plan: Some(plan.into()), roles: vec!["buyer".into()], ..Spec::default() }
}

fn check(raw: serde_json::Value) -> Result<Declared, Vec<String>> {
    let raw: Raw = serde_json::from_value(raw).expect("of the form of the file");
    let mut report = Report::new();
    let declared = Declared::check(&raw, &Path::root().key("consumers"), &mut report);
    let told = report.findings().iter();
    declared.ok_or_else(|| told.map(|told| format!("{}: {}", told.path, told.message)).collect())
}

fn declared(raw: serde_json::Value) -> Declared {
    check(raw).expect("no mistakes")
}

/// Consumers on a disk, and the journal in between.
async fn on(disk: &SimDisk, declared: Declared) -> (Consumers, Arc<SimJournal>, Tasks) {
    let tasks = Tasks::new();
    let journal = disk.open(Faults::default(), 7, &tasks);
    let kept: Arc<dyn Journal> = journal.clone();
    let consumers = Consumers::start(declared, Some(kept), Limits::default(), &tasks).await;
    (consumers.expect("a start"), journal, tasks)
}

async fn in_memory(declared: Declared) -> Consumers {
    let tasks = Tasks::new();
    Consumers::start(declared, None, Limits::default(), &tasks).await.expect("a start")
}

/// Whose the key is, for a call that comes now.
fn owner(consumers: &Consumers, secret: &str) -> Option<String> {
    let shown = consumers.shown();
    let key = shown.key(&Hash::of(secret.as_bytes()), Timestamp::now())?;
    Some(key.owner.name.to_string())
}

#[tokio::test]
async fn all_are_replaced_but_those_of_the_file_and_their_keys() {
    let file =
        json!({ "ours": { "plan": "gold" }, "same": { "roles": ["buyer"], "plan": "free" } });
    let consumers = in_memory(declared(file)).await;
    consumers.create(root(), "acme", spec("gold")).await.expect("it is made");
    consumers.create(root(), "gone", spec("gold")).await.expect("it is made");
    let key = consumers.issue_key(root(), "acme", None, None).await.expect("a key");
    let all = ["acme", "ours", "same", "new"].map(|name| (name.to_owned(), spec("free")));
    let wanted = Wanted { specs: all.into(), prune: true };
    let told = consumers.replace(root(), wanted.clone(), true).await.expect("it can be");
    assert_eq!(consumers.list().len(), 4, "nothing has changed");
    let done = consumers.replace(root(), wanted.clone(), false).await.expect("it is done");
    assert_eq!(done, told);
    let planned = done.planned.iter();
    let planned: Vec<_> =
        planned.map(|one| (one.name.as_str(), one.before.is_some(), one.after.is_some())).collect();
    assert_eq!(planned, [("acme", true, true), ("gone", true, false), ("new", false, true)]);
    assert_eq!(done.declared.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ours"]);
    assert_eq!(owner(&consumers, key.secret.reveal()).as_deref(), Some("acme"));
    assert!(consumers.get("gone").is_none() && consumers.get("new").is_some());
    let again = consumers.replace(root(), wanted, false).await.expect("it is so");
    assert_eq!(again.planned, []);
    let wrong = Spec { certificates: vec!["not a name".into()], ..Spec::default() };
    let wanted = Wanted { specs: [("bad".to_owned(), wrong)].into(), prune: false };
    let refused = consumers.replace(root(), wanted, false).await.expect_err("it is wrong");
    assert!(refused.to_string().contains("of the consumer `bad`"), "{refused}");
}

#[tokio::test]
async fn a_key_is_shown_once_and_counts_until_it_is_revoked() {
    let consumers = in_memory(Declared::default()).await;
    let acme = consumers.create(root(), "acme", spec("gold")).await.expect("it is made");
    assert_eq!((acme.origin, acme.spec.plan.as_deref()), (Origin::Journal, Some("gold")));
    let one = consumers.issue_key(root(), "acme", Some("till"), None).await.expect("a key");
    let two = consumers.issue_key(root(), "acme", None, None).await.expect("another");
    let (first, second) = (one.secret.reveal().to_owned(), two.secret.reveal().to_owned());
    assert!(first.starts_with("phk_") && first.len() == 47 && first != second, "{first}");
    assert_eq!((one.key.number, one.key.label.as_deref()), (KeyNumber::FIRST, Some("till")));
    assert_eq!(owner(&consumers, &first).as_deref(), Some("acme"));
    // What is nearly a key, and what is stored of it, are no keys.
    let hash = Hash::of(first.as_bytes()).to_hex();
    for wrong in [&first[..46], &format!("{first} "), &first.to_uppercase(), &hash, "", "acme/1"] {
        assert_eq!(owner(&consumers, wrong), None, "{wrong}");
    }
    consumers.revoke_key(root(), "acme", KeyNumber::FIRST).await.expect("it is revoked");
    assert_eq!(owner(&consumers, &first), None);
    assert_eq!(owner(&consumers, &second).as_deref(), Some("acme"));
    consumers.delete(root(), "acme", None).await.expect("it goes");
    assert_eq!(owner(&consumers, &second), None);
    assert_eq!(consumers.list(), []);
}

#[tokio::test]
async fn no_secret_is_anywhere_but_in_the_answer() {
    let disk = SimDisk::default();
    let (consumers, _journal, _tasks) = on(&disk, Declared::default()).await;
    consumers.create(root(), "acme", spec("gold")).await.expect("it is made");
    let issued = consumers.issue_key(root(), "acme", None, None).await.expect("a key");
    let secret = issued.secret.reveal().trim_start_matches("phk_").to_owned();
    let history = consumers.history(None, 10).await.expect("it is told");
    for shown in [
        format!("{issued:?}"),
        format!("{consumers:?}"),
        format!("{:?}", consumers.list()),
        format!("{:?}", consumers.shown()),
        format!("{history:?}"),
    ] {
        assert!(!shown.contains(&secret), "{shown}");
    }
    consumers.close().await;
    let written = disk.history(&posthouse_journal::StreamName::internal("consumers"));
    assert_eq!(written.len(), 2);
    for recorded in written {
        let data = String::from_utf8_lossy(&recorded.event.data).into_owned();
        assert!(!data.contains(&secret), "{data}");
    }
}

#[tokio::test]
async fn rotation_overlaps() {
    let consumers = in_memory(Declared::default()).await;
    consumers.create(root(), "acme", spec("gold")).await.expect("it is made");
    let old = consumers.issue_key(root(), "acme", Some("till"), None).await.expect("a key");
    let hour = Duration::from_secs(3600);
    let new = consumers.rotate_key(root(), "acme", KeyNumber::FIRST, hour, None).await;
    let new = new.expect("it is rotated");
    assert_eq!(new.key.label.as_deref(), Some("till"));
    for secret in [&old.secret, &new.secret] {
        assert_eq!(owner(&consumers, secret.reveal()).as_deref(), Some("acme"));
    }
    let later = Timestamp::now().plus(hour);
    let counts = |secret: &super::Secret| {
        consumers.shown().key(&Hash::of(secret.reveal().as_bytes()), later).is_some()
    };
    assert!(!counts(&old.secret) && counts(&new.secret));
}

#[tokio::test]
async fn when_a_key_was_used_is_kept_to_the_minute() {
    let consumers = in_memory(Declared::default()).await;
    consumers.create(root(), "acme", spec("gold")).await.expect("it is made");
    let issued = consumers.issue_key(root(), "acme", None, None).await.expect("a key");
    let used = || consumers.get("acme").expect("it is there").keys[0].last_used;
    assert_eq!(used(), None);
    let hash = Hash::of(issued.secret.reveal().as_bytes());
    let now = Timestamp::from_millis(1_000_000_000_000 + 61_234);
    assert!(consumers.shown().key(&hash, now).is_some());
    let minute = Timestamp::from_millis(now.as_millis() / 60_000 * 60_000);
    assert_eq!(used(), Some(minute));
    // Changes to the consumer leave it.
    consumers.update(root(), "acme", spec("silver"), None).await.expect("it changes");
    assert_eq!(used(), Some(minute));
}

#[tokio::test]
async fn what_the_file_declares_is_changed_there_only() {
    let key = Hash::of(b"a key of sixteen").to_hex();
    let file =
        |plan: &str| declared(json!({ "acme": { "plan": plan, "keys": [{ "sha256": key }] } }));
    let consumers = in_memory(file("gold")).await;
    assert_eq!(consumers.get("acme").map(|acme| acme.origin), Some(Origin::File));
    assert_eq!(owner(&consumers, "a key of sixteen").as_deref(), Some("acme"));
    let is_declared =
        |error: Error| matches!(error, Error::Declared(name) if name.as_str() == "acme");
    let refused = consumers.create(root(), "acme", spec("x")).await.expect_err("it is declared");
    assert!(is_declared(refused));
    let refused = consumers.update(root(), "acme", spec("x"), None).await;
    assert!(is_declared(refused.expect_err("it is declared")));
    let refused = consumers.issue_key(root(), "acme", None, None).await;
    assert!(is_declared(refused.expect_err("it is declared")));
    let refused = consumers.delete(root(), "acme", None).await;
    assert!(is_declared(refused.expect_err("it is declared")));

    let version = consumers.version();
    consumers.declare(file("silver"));
    assert!(consumers.version() > version);
    assert_eq!(consumers.find("acme").and_then(|acme| acme.plan).as_deref(), Some("silver"));
    consumers.declare(Declared::default());
    assert_eq!((consumers.find("acme"), owner(&consumers, "a key of sixteen")), (None, None));
}

/// The file says more than the journal for as long as it says it.
#[tokio::test]
async fn the_file_hides_what_is_kept_of_the_same_name() {
    let consumers = in_memory(Declared::default()).await;
    consumers.create(root(), "acme", spec("kept")).await.expect("it is made");
    let issued = consumers.issue_key(root(), "acme", None, None).await.expect("a key");
    consumers.create(root(), "other", spec("kept")).await.expect("it is made");
    let plan = |name| consumers.find(name).and_then(|found| found.plan);
    consumers.declare(declared(json!({ "acme": { "plan": "file" } })));
    assert_eq!(plan("acme").as_deref(), Some("file"));
    assert_eq!(plan("other").as_deref(), Some("kept"));
    assert_eq!(owner(&consumers, issued.secret.reveal()), None);
    consumers.declare(Declared::default());
    assert_eq!(plan("acme").as_deref(), Some("kept"));
    assert_eq!(owner(&consumers, issued.secret.reveal()).as_deref(), Some("acme"));
}

#[tokio::test]
async fn mistakes_are_told_and_change_nothing() {
    let consumers = in_memory(Declared::default()).await;
    let wrong_key =
        PublicKey { id: "k".into(), algorithm: Algorithm::Ed25519, pem: "-----BEGIN".into() };
    let secret = PublicKey { algorithm: Algorithm::HmacSha256, ..wrong_key.clone() };
    for (name, spec, field) in [
        ("a b", Spec::default(), "name"),
        ("acme", Spec { plan: Some("".into()), ..Spec::default() }, "plan"),
        ("acme", Spec { roles: vec!["a\n".into()], ..Spec::default() }, "roles"),
        ("acme", Spec { certificates: vec!["acme".into()], ..Spec::default() }, "certificates"),
        ("acme", Spec { signature_keys: vec![wrong_key], ..Spec::default() }, "signature_keys"),
        ("acme", Spec { signature_keys: vec![secret], ..Spec::default() }, "signature_keys"),
    ] {
        let refused = consumers.create(root(), name, spec).await.expect_err("it is refused");
        let Error::Refused(Refusal::Invalid { field: told, .. }) = &refused else {
            panic!("{refused}")
        };
        assert_eq!(*told, field);
    }
    assert_eq!(consumers.list(), []);
}

#[tokio::test]
async fn everything_is_there_after_the_power_went() {
    let disk = SimDisk::default();
    let (first, journal, _tasks) = on(&disk, Declared::default()).await;
    let spec = Spec { certificates: vec!["O = Acme, CN = till".into()], ..spec("gold") };
    first.create(root(), "acme", spec).await.expect("it is made");
    let kept = first.issue_key(root(), "acme", None, None).await.expect("a key");
    let gone = first.issue_key(root(), "acme", None, None).await.expect("a key");
    first.revoke_key(root(), "acme", gone.key.number).await.expect("it is revoked");
    let before = (first.list(), first.history(None, 10).await.expect("it is told"));
    journal.crash();

    let (second, journal, _tasks) = on(&disk, Declared::default()).await;
    // At once, before anything else happens.
    assert_eq!(owner(&second, kept.secret.reveal()).as_deref(), Some("acme"));
    assert_eq!(owner(&second, gone.secret.reveal()), None);
    let mut after = second.list();
    // When a key was last used is not kept.
    after.iter_mut().flat_map(|view| &mut view.keys).for_each(|key| key.last_used = None);
    assert_eq!((after, second.history(None, 10).await.expect("it is told")), before);
    assert!(second.shown().certificate("O=Acme,CN=till").is_some());
    // A checkpoint tells the same.
    second.close().await;
    journal.crash();
    let (third, ..) = on(&disk, Declared::default()).await;
    assert_eq!(third.list().len(), before.0.len());
    assert_eq!(owner(&third, kept.secret.reveal()).as_deref(), Some("acme"));
}

#[tokio::test]
async fn what_is_not_durable_lets_nobody_in() {
    let disk = SimDisk::default();
    let (consumers, journal, _tasks) = on(&disk, Declared::default()).await;
    consumers.create(root(), "acme", spec("gold")).await.expect("it is made");
    let issued = consumers.issue_key(root(), "acme", None, None).await.expect("a key");
    let outage = Duration::from_secs(3600);
    journal.set_faults(Faults { fail: 1.0, outage, ..Faults::default() });
    let refused = consumers.create(root(), "other", spec("gold")).await;
    assert!(matches!(refused, Err(Error::Unconfirmed(_))), "{refused:?}");
    let refused = consumers.issue_key(root(), "acme", None, None).await;
    assert!(matches!(refused, Err(Error::Unconfirmed(_))), "{refused:?}");
    assert_eq!(consumers.list().len(), 1);
    assert_eq!(consumers.get("acme").map(|acme| acme.keys.len()), Some(1));
    // Who was let in is let in during an outage.
    assert_eq!(owner(&consumers, issued.secret.reveal()).as_deref(), Some("acme"));
}

#[tokio::test]
async fn the_history_is_of_one_or_of_all() {
    let consumers = in_memory(Declared::default()).await;
    for name in ["acme", "other"] {
        consumers.create(Actor::new(name), name, spec("gold")).await.expect("it is made");
    }
    consumers.issue_key(root(), "acme", None, None).await.expect("a key");
    let who = |changes: Vec<Arc<super::Change>>| {
        changes.iter().map(|change| change.stamp.by.as_str().to_owned()).collect::<Vec<_>>()
    };
    let all = consumers.history(None, 10).await.expect("it is told");
    assert_eq!(who(all), ["root", "other", "acme"]);
    let of_acme = consumers.history(Some("acme"), 10).await.expect("it is told");
    assert_eq!(who(of_acme), ["root", "acme"]);
    let last = consumers.history(None, 1).await.expect("it is told");
    assert_eq!(who(last), ["root"]);
}

#[test]
fn every_mistake_of_the_file_is_told_with_its_place() {
    let told = check(json!({
        "a b": {},
        "acme": {
            "keys": [
                { "sha256": "12" },
                { "secret": "short" },
                {},
                { "secret": "a key of sixteen" },
                { "sha256": Hash::of(b"a key of sixteen").to_hex(), "expires": "tomorrow" },
            ],
            "certificates": ["acme", "CN=a,O=b", "spiffe://Example.org/x"],
            "signature_keys": [
                { "id": "k" },
                { "algorithm": "ed25519", "public_key": "x" },
                { "id": "h", "algorithm": "hmac-sha256", "secret": "c2hvcnQ=" },
                { "id": "h", "algorithm": "hmac-sha256", "public_key": "x" },
            ],
        },
        "other": { "certificates": ["cn = a, o = b"] },
    }));
    let told = told.expect_err("there are mistakes");
    let places: Vec<_> =
        told.iter().map(|told| told.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        places,
        [
            "consumers.a b",
            "consumers.acme.certificates[0]",
            "consumers.acme.certificates[2]",
            "consumers.acme.keys[0].sha256",
            "consumers.acme.keys[1].secret",
            "consumers.acme.keys[2]",
            "consumers.acme.keys[4].expires",
            "consumers.acme.keys[4]",
            "consumers.acme.signature_keys[0].algorithm",
            "consumers.acme.signature_keys[1].id",
            "consumers.acme.signature_keys[1].public_key",
            "consumers.acme.signature_keys[2].secret",
            "consumers.acme.signature_keys[3].id",
            "consumers.acme.signature_keys[3]",
            "consumers.other.certificates[0]",
        ],
        "{told:#?}"
    );
    assert!(
        !told.iter().any(|told| told.contains("sixteen") || told.contains("short")),
        "{told:?}"
    );
}

#[test]
fn expiry_is_a_day_or_a_time() {
    let expires = |text: &str| {
        let keys = json!([{ "secret": "a key of sixteen", "expires": text }]);
        let declared = declared(json!({ "acme": { "keys": keys } }));
        let acme = declared.consumers.values().next().expect("it is there");
        acme.keys[0].expires.map(Timestamp::as_millis)
    };
    assert_eq!(expires("2027-01-01"), Some(1_798_761_600_000));
    assert_eq!(expires("2027-01-01T01:00:00.5+01:00"), Some(1_798_761_600_500));
}
