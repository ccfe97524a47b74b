//! Nobody notices: instances are killed and stopped while calls run without a pause, and no call
//! fails. How fast it is meanwhile is measured by `cargo xtask bench failover`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, StatusCode};
use nix::sys::signal::Signal;
use posthouse_tests::client::{self, Connection};
use posthouse_tests::shop::{CONFIG, answered_by, passing, start};
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, eventually};
use tokio::task::JoinSet;

/// How many connections call at the same time.
const CALLERS: usize = 8;

/// Calls that go on until they are told to stop.
struct Load {
    callers: JoinSet<Vec<String>>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Load {
    fn start(gateway: SocketAddr) -> Self {
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            callers.spawn(async move {
                let mut failures = Vec::new();
                let mut connection = Connection::open(gateway).await.expect("a connection");
                while !stop.load(Ordering::Relaxed) {
                    let request =
                        client::request(Method::GET, "shop.example", "/api/v1/users/1", "");
                    match connection.send(request).await {
                        Ok(answer) if answer.status() == StatusCode::OK => {}
                        Ok(answer) => failures.push(format!("{answer:?}")),
                        Err(error) => {
                            failures.push(format!("{error:#}"));
                            connection = Connection::open(gateway).await.expect("a connection");
                        }
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                failures
            });
        }
        Self { callers, stop, calls }
    }

    /// Waits until some hundred more calls have been made.
    async fn goes_on(&self) {
        let enough = self.calls.load(Ordering::Relaxed) + 500;
        eventually("the calls to go on", || async {
            let calls = self.calls.load(Ordering::Relaxed);
            ensure(calls >= enough, || format!("{calls} of {enough} calls"))
        })
        .await;
    }

    /// Ends the calls and returns those that failed.
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await.concat()
    }
}

async fn becomes(house: &House, instance: &str, healthy: bool) {
    eventually(&format!("{instance} to be healthy: {healthy}"), || async {
        let ids = passing(house, "users").await?;
        ensure(ids.contains(instance) == healthy, || format!("{ids:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_instances_die_stop_and_return() {
    let house = House::start(CONFIG).await;
    let mut killed = start(&house, "users", "users-1").await;
    let stopped = start(&house, "users", "users-2").await;
    let _third = start(&house, "users", "users-3").await;
    let _fourth = start(&house, "users", "users-4").await;
    let all = ["users-1", "users-2", "users-3", "users-4"];
    answered_by(&house, "/api/v1/users/1", &all).await;

    let load = Load::start(house.gateway());
    load.goes_on().await;
    killed.kill().await;
    load.goes_on().await;
    becomes(&house, "users-1", false).await;
    stopped.signal(Signal::SIGSTOP);
    becomes(&house, "users-2", false).await;
    load.goes_on().await;
    stopped.signal(Signal::SIGCONT);
    becomes(&house, "users-2", true).await;
    let _again = start(&house, "users", "users-1").await;
    load.goes_on().await;
    let failures = load.finish().await;
    assert_eq!(failures, Vec::<String>::new());
    answered_by(&house, "/api/v1/users/1", &all).await;
}
