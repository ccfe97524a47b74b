//! The catalog on a journal that fails: what is in force while it does, and afterwards.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use posthouse_base::config::Report;
use posthouse_base::task::Tasks;
use posthouse_catalog::state::{Lifecycle, Origin, Spec, Specs};
use posthouse_catalog::{
    Apply, Change, Error, Handle, Key, Limits, Mark, Raw, Refusal, Revision, Standing, config, plan,
};
use posthouse_journal::Journal;
use posthouse_journal::sim::{Faults, SimDisk, SimJournal};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

const OPENAPI: &str = "
openapi: 3.1.0
info: { title: Users, version: '1' }
paths:
  /users:
    get:
      parameters: [ { name: limit, in: query, schema: { type: integer } } ]
";

/// A catalog on a disk, and the journal in between.
async fn catalog(disk: &SimDisk, faults: Faults, seed: u64) -> (Handle, Arc<SimJournal>, Tasks) {
    let tasks = Tasks::new();
    let journal = disk.open(faults, seed, &tasks);
    let kept: Arc<dyn Journal> = journal.clone();
    let handle = Handle::start(Limits::default(), Some(kept), &tasks).await.expect("it starts");
    (handle, journal, tasks)
}

fn specs(written: Value) -> Specs {
    let raw: Raw = serde_json::from_value(written).expect("the form of the file");
    let mut report = Report::new();
    let specs = config::check(&raw, &Limits::default(), &mut report);
    assert!(!report.has_errors(), "{:?}", report.findings());
    specs
}

fn users() -> Specs {
    specs(json!({
        "apis": { "users": { "owner": "team", "versions": {
            "v1": { "state": "published", "select": { "path": "/v1" }, "service": "users",
                    "openapi": OPENAPI, "validate": true },
            "v2": { "state": "draft", "select": { "path": "/v2" }, "service": "users",
                    "openapi": OPENAPI },
        } } },
        "plans": { "gold": { "limits": [{ "by": "consumer", "quota": "9/day" }] } },
    }))
}

fn version(api: &str, version: &str) -> Key {
    Key::version(api, version).expect("names")
}

fn apply(changes: Vec<Change>) -> Apply {
    Apply { who: "ann".into(), note: "because".into(), changes, expected: None }
}

fn to(name: &str, lifecycle: Lifecycle) -> Apply {
    let Key::Version(api, version) = version("users", name) else { unreachable!() };
    apply(vec![Change::Move { api, version, to: lifecycle }])
}

fn routes(handle: &Handle) -> Vec<String> {
    let standing = handle.standing();
    let routes = standing.made().routes.iter();
    routes.map(|made| made.route["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn everything_is_there_after_the_power_went() {
    let disk = SimDisk::default();
    let (first, journal, _tasks) = catalog(&disk, Faults::default(), 1).await;
    first.apply(apply(first.standing().changes_to(&users(), false))).await.expect("it is applied");
    first.apply(to("v2", Lifecycle::Published)).await.expect("it is published");
    let before = first.standing();
    assert_eq!(before.made().routes.len(), 2);
    journal.crash();

    let (second, _journal, _tasks) = catalog(&disk, Faults::default(), 2).await;
    let after = second.standing();
    assert_eq!((after.state(), after.made()), (before.state(), before.made()));
    // A guard may ask for comparison where the version does not.
    assert!(after.inspection("users", "v1").is_some() && after.inspection("users", "v2").is_some());
    let applied = second.apply(to("v2", Lifecycle::Published)).await.expect("nothing changes");
    assert_eq!((applied.mark, applied.changed.len()), (before.mark(), 0));
}

#[tokio::test]
async fn a_checkpoint_holds_everything() {
    let disk = SimDisk::default();
    let (first, _journal, tasks) = catalog(&disk, Faults::default(), 1).await;
    first.apply(apply(first.standing().changes_to(&users(), false))).await.expect("it is applied");
    first.close().await;
    let before = first.standing();
    tasks.finish(DEADLINE).await;
    let (second, _journal, _tasks) = catalog(&disk, Faults::default(), 2).await;
    assert_eq!(second.standing().state(), before.state());
}

#[tokio::test]
async fn in_an_outage_what_is_in_force_stays() {
    let disk = SimDisk::default();
    let (handle, journal, _tasks) = catalog(&disk, Faults::default(), 1).await;
    handle.apply(apply(handle.standing().changes_to(&users(), false))).await.expect("applied");
    let before = handle.standing();
    let outage = Duration::from_secs(3600);
    journal.set_faults(Faults { fail: 1.0, outage, ..Faults::default() });
    for _ in 0..2 {
        let refused = handle.apply(to("v2", Lifecycle::Published)).await.expect_err("an outage");
        assert!(matches!(refused, Error::Unconfirmed(_)), "{refused}");
        assert_eq!(handle.standing().state(), before.state());
        assert_eq!(routes(&handle).len(), 1);
    }
}

#[tokio::test]
async fn what_is_told_has_happened() {
    let disk = SimDisk::default();
    let (handle, _journal, _tasks) = catalog(&disk, Faults::default(), 1).await;
    let mut follow = handle.follow();
    assert_eq!(*follow.borrow_and_update(), Mark::default());
    let preview = handle.preview(apply(handle.standing().changes_to(&users(), false)));
    let preview = preview.expect("it would work");
    assert_eq!((preview.plan.count(plan::Kind::Created), preview.made.routes.len()), (4, 1));
    assert!(routes(&handle).is_empty(), "a preview changes nothing");
    let changes = handle.standing().changes_to(&users(), false);
    let applied = handle.apply(Apply { expected: Some(preview.mark), ..apply(changes) }).await;
    let applied = applied.expect("it is applied");
    follow.changed().await.expect("it is told");
    assert_eq!(*follow.borrow_and_update(), applied.mark);
    assert_eq!(handle.standing().made(), &preview.made);
    let late = Apply { expected: Some(preview.mark), ..to("v2", Lifecycle::Published) };
    let refused = handle.apply(late).await.expect_err("late");
    assert!(matches!(refused, Error::Refused(Refusal::Behind)), "{refused}");
}

#[tokio::test]
async fn what_there_is_is_counted_under_the_name_of_the_house() {
    let (handle, _journal, _tasks) = catalog(&SimDisk::default(), Faults::default(), 1).await;
    handle.apply(apply(handle.standing().changes_to(&users(), false))).await.expect("applied");
    let mut registry = prometheus_client::registry::Registry::default();
    handle.register_metrics(&mut registry);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
    for line in [
        "posthouse_catalog_apis 1",
        "posthouse_catalog_plans 1",
        "posthouse_catalog_versions{state=\"draft\"} 1",
        "posthouse_catalog_changes_total{kind=\"put\"} 4",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn what_was_done_is_shown_compared_and_undone() {
    let (handle, _journal, _tasks) = catalog(&SimDisk::default(), Faults::default(), 1).await;
    handle.apply(apply(handle.standing().changes_to(&users(), false))).await.expect("applied");
    handle.apply(to("v2", Lifecycle::Published)).await.expect("published");
    let key = version("users", "v2");
    let standing = handle.standing();
    let history = standing.history(&key).expect("it is there");
    assert_eq!(history.revisions().len(), 2);
    let differs =
        standing.compare(&key, Revision::FIRST, Revision::new(2)).expect("both are there");
    let fields: Vec<&str> = differs.fields.iter().map(|one| one.pointer.as_str()).collect();
    assert_eq!(fields, ["/state"]);
    assert_eq!(differs.contract, None, "the description is the same");
    let back = Change::RollBack { key: key.clone(), to: Revision::FIRST };
    handle.apply(apply(vec![back])).await.expect("rolled back");
    assert_eq!(routes(&handle), ["users@v1 GET /users"]);
    assert_eq!(handle.standing().history(&key).expect("it is there").revisions().len(), 3);
}

#[tokio::test]
async fn what_the_file_declares_comes_and_goes_with_it() {
    let (handle, _journal, _tasks) = catalog(&SimDisk::default(), Faults::default(), 1).await;
    let preview = handle.preview_declared(users()).expect("it would work");
    assert_eq!(preview.made.routes.len(), 1);
    handle.declare(users()).await.expect("it is declared");
    let mark = handle.standing().mark();
    handle.declare(users()).await.expect("again");
    assert_eq!(handle.standing().mark(), mark, "nothing has changed");
    let refused = handle.apply(to("v2", Lifecycle::Published)).await.expect_err("the file's");
    assert!(matches!(refused, Error::Refused(Refusal::Declared(_))), "{refused}");
    assert_eq!(handle.standing().export(true), Raw::default());
    assert_eq!(handle.standing().export(false).apis.len(), 1);
    handle.declare(Specs::new()).await.expect("nothing is declared");
    assert!(routes(&handle).is_empty());
}

#[tokio::test]
async fn an_export_is_applied_elsewhere() {
    let (one, _journal, _tasks) = catalog(&SimDisk::default(), Faults::default(), 1).await;
    one.apply(apply(one.standing().changes_to(&users(), false))).await.expect("applied");
    one.apply(to("v2", Lifecycle::Published)).await.expect("published");
    let exported = serde_json::to_value(one.standing().export(false)).expect("JSON");

    let (other, _journal, _tasks) = catalog(&SimDisk::default(), Faults::default(), 2).await;
    let old = specs(json!({ "apis": { "old": {} }, "plans": { "gold": {}, "tin": {} } }));
    other.apply(apply(other.standing().changes_to(&old, false))).await.expect("applied");
    let wanted = specs(exported);
    let changes = other.standing().changes_to(&wanted, true);
    let plan = other.preview(apply(changes.clone())).expect("it would work").plan;
    let counts = [plan::Kind::Created, plan::Kind::Changed, plan::Kind::Removed];
    assert_eq!(counts.map(|kind| plan.count(kind)), [3, 1, 2]);
    other.apply(apply(changes)).await.expect("applied");
    assert_eq!(other.standing().specs(), one.standing().specs());
    assert!(other.standing().changes_to(&wanted, true).is_empty());
}

/// Commands while the journal fails and the power goes: whatever was confirmed is there afterwards
/// with its revision, and what stands is what the journal tells.
#[test]
fn what_was_confirmed_outlives_every_crash() {
    for seed in 0..25 {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(live(seed));
    }
}

async fn live(seed: u64) {
    let disk = SimDisk::default();
    let mut luck = Rng::with_seed(seed);
    let mut confirmed: Option<(Key, Revision, Mark)> = None;
    let faults = Faults {
        delay: Duration::from_millis(5),
        fail: 0.15,
        uncertain: 0.1,
        outage: Duration::from_millis(20),
        unreadable: 0.3,
        lies: false,
    };
    for life in 0..4 {
        let (handle, journal, tasks) = catalog(&disk, faults, seed * 10 + life).await;
        let standing = handle.standing();
        if let Some((key, revision, mark)) = &confirmed {
            let entry = standing.history(key).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            let last = entry.last().expect("a revision").revision;
            assert!(last >= *revision, "seed {seed}: {key} is at {last}, not {revision}");
            assert!(standing.mark() >= *mark, "seed {seed}");
        }
        for step in 0..25 {
            let api = format!("a{}", luck.u8(..3));
            let owner = format!("{life}-{step}");
            let wanted = specs(json!({ "apis": { api.as_str(): { "owner": owner } } }));
            let outcome = if luck.u8(..4) == 0 {
                handle.declare(wanted).await
            } else {
                handle.apply(apply(handle.standing().changes_to(&wanted, false))).await
            };
            let standing = handle.standing();
            match outcome {
                Ok(applied) => {
                    for (key, revision) in applied.changed {
                        let last = standing.history(&key).expect("it was told").last().cloned();
                        let last = last.expect("a revision");
                        assert!(last.revision >= revision, "seed {seed}: told too early");
                        confirmed = Some((key, revision, applied.mark));
                    }
                }
                Err(Error::Unconfirmed(_)) => {
                    tokio::time::sleep(Duration::from_millis(luck.u64(..30))).await;
                }
                Err(Error::Refused(Refusal::Declared(key))) => {
                    let last = standing.history(&key).ok().and_then(|entry| entry.last().cloned());
                    assert_eq!(last.map(|last| last.origin), Some(Origin::File), "seed {seed}");
                }
                Err(why) => panic!("seed {seed}: {why}"),
            }
        }
        let before = handle.standing();
        if luck.bool() {
            journal.crash();
        } else {
            handle.close().await;
        }
        tasks.finish(DEADLINE).await;
        holds(&disk, &before, seed).await;
    }
}

/// Everything that stood is there, since nothing stands that is not durable.
async fn holds(disk: &SimDisk, before: &Standing, seed: u64) {
    let (again, _journal, tasks) = catalog(disk, Faults::default(), 0).await;
    let standing = again.standing();
    assert!(standing.mark() >= before.mark(), "seed {seed}: what stood is lost");
    for (key, entry) in before.state().entries() {
        let kept = standing.history(key).expect("it stood");
        for changed in entry.revisions() {
            assert_eq!(kept.revision(changed.revision), Some(changed), "seed {seed}: {key}");
        }
    }
    let is_api = |spec: &Arc<Spec>| matches!(spec.as_ref(), Spec::Api(_));
    assert!(standing.specs().values().all(is_api));
    tasks.finish(DEADLINE).await;
}
