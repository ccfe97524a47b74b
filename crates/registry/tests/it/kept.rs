//! The registry on a journal that fails: what clients see while it does, and afterwards.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_journal::Journal;
use posthouse_journal::sim::{Faults, SimDisk, SimJournal};
use posthouse_registry::{Config, Raw, Registry};

use crate::client::{DEADLINE, House};

const WEB: &str = r#"{"Name": "web", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}"#;

/// A registry on a disk, and the journal in between.
async fn house(disk: &SimDisk) -> (House, Arc<SimJournal>) {
    let raw = Raw { address: "127.0.0.1:0".into(), ..Raw::default() };
    let config = Config::check(&raw, &Path::root(), &mut Report::new()).expect("no mistakes");
    let tasks = Tasks::new();
    let journal = disk.open(Faults::default(), 7, &tasks);
    let kept: Arc<dyn Journal> = journal.clone();
    let registry = Registry::start(config, Some(kept), &tasks).await.expect("it starts");
    (House { registry, tasks }, journal)
}

/// Every write fails, for a long time.
fn broken() -> Faults {
    Faults { fail: 1.0, outage: Duration::from_secs(3600), ..Faults::default() }
}

#[tokio::test]
async fn everything_is_there_after_the_power_went() {
    let disk = SimDisk::default();
    let (first, journal) = house(&disk).await;
    first.register(WEB).await;
    assert_eq!(first.put("/v1/kv/a/b", "hello").await.body, "true");
    first.put("/v1/agent/check/warn/service:web?note=tired", "").await;
    let before = first.get("/v1/health/service/web").await;
    journal.crash();
    drop(first);

    let (second, _journal) = house(&disk).await;
    let after = second.get("/v1/health/service/web").await;
    assert_eq!((after.json(), after.index()), (before.json(), before.index()));
    assert_eq!(second.get("/v1/kv/a/b?raw").await.body, "hello");
    second.register(r#"{"Name": "db", "Port": 1}"#).await;
    let index = second.get("/v1/health/service/db").await.index();
    assert!(index > before.index(), "{index} after {}", before.index());
}

#[tokio::test]
async fn in_an_outage_reads_and_reports_go_on() {
    let disk = SimDisk::default();
    let (house, journal) = house(&disk).await;
    house.register(WEB).await;
    let before = house.get("/v1/health/service/web").await;
    journal.set_faults(broken());
    for name in ["db", "cache"] {
        let body = format!(r#"{{"Name": "{name}", "Port": 1}}"#);
        let refused = house.put("/v1/agent/service/register", &body).await;
        let text = "the registry can confirm nothing now: the journal is not available: the disk \
                    failed: simulated";
        assert_eq!((refused.status, refused.body.as_str()), (500, text));
        let services = house.json("/v1/catalog/services").await;
        assert_eq!(services.as_object().map(|list| list.len()), Some(1), "{services}");
        let reported = house.put("/v1/agent/check/pass/service:web", "").await;
        assert_eq!((reported.status, reported.body.as_str()), (200, ""));
    }
    let during = house.get("/v1/health/service/web").await;
    assert_eq!((during.json(), during.index()), (before.json(), before.index()));
}

#[tokio::test]
async fn a_failed_commit_is_seen_by_nobody_who_waits() {
    let disk = SimDisk::default();
    let (house, journal) = house(&disk).await;
    house.register(WEB).await;
    let mut follower = house.registry.handle().follow();
    assert_eq!(follower.next().await.service.as_ref(), "web");
    let before = house.get("/v1/health/service/web").await;
    let path = format!("/v1/health/service/web?index={}&wait=1m", before.index());
    let (address, waited) = (house.address(), path.clone());
    let waits =
        tokio::spawn(async move { crate::client::request(address, "GET", &waited, "").await });
    house.watchers(1).await;
    // Short, so that it is over while the test goes on.
    let short = Duration::from_millis(20);
    journal.set_faults(Faults { fail: 1.0, outage: short, ..Faults::default() });
    let refused = house.put("/v1/agent/check/fail/service:web", "").await;
    assert_eq!(refused.status, 500, "{refused:?}");
    journal.set_faults(Faults::default());
    assert_eq!(house.get("/v1/health/service/web").await.index(), before.index());
    let written = async {
        while house.put("/v1/agent/check/warn/service:web", "").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, written).await.expect("the journal comes back");
    let answer = tokio::time::timeout(DEADLINE, waits).await.expect("in time").expect("an answer");
    assert!(answer.index() > before.index());
    assert_eq!(answer.json()[0]["Checks"][1]["Status"], "warning");
    let mut last = follower.next().await;
    while let Some(next) = follower.try_next() {
        last = next;
    }
    assert_eq!(last.instances[0].status, posthouse_registry::Status::Warning);
}
