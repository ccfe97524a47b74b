//! Names that come from an engine: another registry, or something that only speaks like one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use posthouse_base::task::Tasks;
use posthouse_registry::{Config, EngineAddress, Raw, Registry, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::client::{DEADLINE, House};

/// A registry whose names come from `engine`.
async fn following(engine: SocketAddr) -> House {
    House::with(|raw| raw.engine = Some(format!("consul://{engine}"))).await
}

/// Waits until the instances of a service are known to be these, in order.
async fn until(house: &House, service: &str, wanted: &[(&str, Status)]) {
    let mut last = Vec::new();
    let reached = async {
        loop {
            let known = house.registry.handle().instances(service).await.expect("instances");
            last = known.iter().map(|one| (one.id.clone(), one.status)).collect();
            if last.iter().map(|(id, status)| (id.as_str(), *status)).eq(wanted.iter().copied()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let reached = tokio::time::timeout(DEADLINE, reached).await;
    assert!(reached.is_ok(), "{service} stayed {last:?}, and not {wanted:?}");
}

/// Waits until the engine answers, or does not.
async fn until_reachable(house: &House, wanted: bool) {
    let engine = house.registry.engine().expect("names come from an engine");
    let reached = async {
        while engine.view().reachable != Some(wanted) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.expect("the engine is found so");
}

#[tokio::test]
async fn what_the_engine_knows_is_known_and_followed() {
    let engine = House::new().await;
    engine.register(r#"{"ID": "w1", "Name": "web", "Port": 1, "Check": {"TTL": "1h"}}"#).await;
    let house = following(engine.address()).await;
    until(&house, "web", &[("w1", Status::Critical)]).await;
    engine.put("/v1/agent/check/pass/service:w1", "").await;
    until(&house, "web", &[("w1", Status::Passing)]).await;
    let whole = r#"{"ID": "w2", "Name": "web", "Address": "10.0.0.2", "Port": 2, "Tags": ["blue"],
        "Meta": {"protocol": "grpc"}, "Weights": {"Passing": 4, "Warning": 2}}"#;
    engine.register(whole).await;
    until(&house, "web", &[("w1", Status::Passing), ("w2", Status::Passing)]).await;
    assert_eq!(
        house.registry.handle().instances("web").await.expect("instances"),
        engine.registry.handle().instances("web").await.expect("instances")
    );
    engine.put("/v1/agent/maintenance?enable=true&reason=disk", "").await;
    until(&house, "web", &[("w1", Status::Critical), ("w2", Status::Critical)]).await;
    assert!(house.registry.handle().instances("web").await.expect("instances")[0].maintenance);
    engine.put("/v1/agent/maintenance?enable=false", "").await;
    until(&house, "web", &[("w1", Status::Passing), ("w2", Status::Passing)]).await;
    engine.put("/v1/agent/service/deregister/w1", "").await;
    until(&house, "web", &[("w2", Status::Passing)]).await;
    engine.register(r#"{"ID": "d", "Name": "db", "Port": 3}"#).await;
    until(&house, "db", &[("d", Status::Passing)]).await;
    engine.put("/v1/agent/service/deregister/w2", "").await;
    until(&house, "web", &[]).await;
    // A node with nothing on it is none; the engine's own name is no trouble, though it is ours.
    let outside =
        r#"{"Node": "n", "Address": "10.9.9.9", "Service": {"Service": "out", "Port": 4}}"#;
    assert_eq!(engine.put("/v1/catalog/register", outside).await.status, 200);
    until(&house, "out", &[("out", Status::Passing)]).await;
    engine.put("/v1/catalog/deregister", r#"{"Node": "n"}"#).await;
    until(&house, "out", &[]).await;
    let nodes = house.registry.handle().nodes().await.expect("nodes");
    let nodes: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(nodes, ["posthouse-1", "posthouse-1-follows"]);
}

#[tokio::test]
async fn requests_are_passed_on() {
    let engine = House::new().await;
    let house = following(engine.address()).await;
    // It is registered there and known here.
    house.register(r#"{"ID": "w", "Name": "web", "Port": 1}"#).await;
    assert_eq!(engine.json("/v1/catalog/services").await["web"].as_array().map(Vec::len), Some(0));
    until(&house, "web", &[("w", Status::Passing)]).await;
    let read = house.get("/v1/health/service/web").await;
    let index = read.index();
    let address = house.address();
    let waiting = tokio::spawn(async move {
        let path = format!("/v1/health/service/web?index={index}");
        crate::client::request(address, "GET", &path, "").await
    });
    engine.put("/v1/agent/service/deregister/w", "").await;
    let woken = waiting.await.expect("an answer");
    assert_eq!(woken.json(), serde_json::json!([]));
    assert!(woken.index() > index);
    assert_eq!(house.get("/v1/kv/no").await.status, 404);
    // A read that waits does not hold the end up.
    let index = house.get("/v1/catalog/nodes").await.index();
    let waiting = tokio::spawn(async move {
        let path = format!("/v1/catalog/nodes?index={index}&wait=10m");
        crate::client::request(address, "GET", &path, "").await
    });
    // Those of the follower, for services, and this one.
    engine.watchers(2).await;
    house.registry.close(DEADLINE).await;
    assert_eq!(waiting.await.expect("an answer").status, 503);
}

#[tokio::test]
async fn when_the_engine_is_gone_what_was_known_stays() {
    let engine = House::new().await;
    engine
        .register(
            r#"{"ID": "w", "Name": "web", "Port": 1, "Check": {"TTL": "1h", "Status": "warning"}}"#,
        )
        .await;
    let folder = tempfile::tempdir().expect("a folder");
    let address = engine.address();
    let start = async || {
        let mut report = posthouse_base::config::Report::new();
        let raw = Raw {
            address: "127.0.0.1:0".into(),
            engine: Some(format!("consul://{address}")),
            ..Raw::default()
        };
        let path = posthouse_base::config::Path::root();
        let config = Config::check(&raw, &path, &mut report).expect("a configuration");
        let tasks = Tasks::new();
        let config = config.keeping_in(folder.path());
        let registry = Registry::start(config, None, &tasks).await.expect("a free port");
        House { registry, tasks }
    };
    let house = start().await;
    until(&house, "web", &[("w", Status::Warning)]).await;
    let file = folder.path().join("engine-names.json");
    let kept = async {
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, kept).await.expect("it is kept");

    engine.registry.close(DEADLINE).await;
    engine.tasks.finish(DEADLINE).await;
    drop(engine);
    until_reachable(&house, false).await;
    until(&house, "web", &[("w", Status::Warning)]).await;
    let refused = house.get("/v1/catalog/services").await;
    assert_eq!(refused.status, 502, "{refused:?}");
    drop(house);

    // Another life, with the engine still gone.
    let house = start().await;
    until(&house, "web", &[("w", Status::Warning)]).await;
    until_reachable(&house, false).await;
    let view = house.registry.engine().expect("an engine").view();
    assert!(view.remembered.is_some() && view.error.is_some(), "{view:?}");
    assert!(house.metrics_of_engine().contains("posthouse_registry_engine_up 0"));

    // The engine is back, and knows of something else.
    let back = House::with(|raw| {
        raw.address = address.to_string();
        raw.dns = Some("off".into());
    })
    .await;
    back.register(r#"{"ID": "d", "Name": "db", "Port": 2}"#).await;
    until(&house, "db", &[("d", Status::Passing)]).await;
    until(&house, "web", &[]).await;
    assert_eq!(house.registry.engine().expect("an engine").view().remembered, None);
    assert!(house.metrics_of_engine().contains("posthouse_registry_engine_up 1"));
}

#[tokio::test]
async fn more_services_than_may_be_watched_have_turns() {
    let engine = House::new().await;
    for n in 0..8 {
        engine.register(&format!(r#"{{"ID": "i{n}", "Name": "s{n}", "Port": 1}}"#)).await;
    }
    let house = House::with(|raw| {
        raw.engine = Some(format!("consul://{}", engine.address()));
        raw.limits.engine_watches = 3;
    })
    .await;
    for n in 0..8 {
        until(&house, &format!("s{n}"), &[(&format!("i{n}"), Status::Passing)]).await;
    }
    for n in 0..8 {
        engine.put(&format!("/v1/agent/service/maintenance/i{n}?enable=true"), "").await;
    }
    for n in 0..8 {
        until(&house, &format!("s{n}"), &[(&format!("i{n}"), Status::Critical)]).await;
    }
}

/// An engine that answers as it is told: with a status, an index and a list of services. A read at
/// that index waits until it is told otherwise.
struct Scripted {
    address: SocketAddr,
    says: watch::Sender<(u16, u64, &'static str)>,
    seen: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Scripted {
    async fn new(status: u16, index: u64, services: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (says, told) = watch::channel((status, index, services));
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let tasks = Tasks::new();
        let (own, heads) = (tasks.clone(), Arc::clone(&seen));
        tasks.spawn("scripted engine", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut told, heads) = (told.clone(), Arc::clone(&heads));
                own.spawn("scripted connection", async move {
                    let mut head = vec![0; 4096];
                    let length = stream.read(&mut head).await.unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..length]).into_owned();
                    let is_list = head.starts_with("GET /v1/catalog/services");
                    heads.lock().expect("not poisoned").push(head.clone());
                    let known = |says: &(u16, u64, _)| head.contains(&format!("index={}&", says.1));
                    let says = told.wait_for(|says| !known(says)).await;
                    let (status, index, services) = *says.expect("it goes on");
                    let body = if is_list { services } else { "[]" };
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\nx-consul-index: {index}\r\nconnection: close\r\n\
                         content-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _gone = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { address, says, seen, tasks }
    }

    /// Waits until as many requests have come whose head begins so.
    async fn until_asked(&self, for_what: &str, count: usize) {
        let asked = async {
            loop {
                let count_seen = {
                    let seen = self.seen.lock().expect("not poisoned");
                    seen.iter().filter(|head| head.starts_with(for_what)).count()
                };
                if count_seen >= count {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.expect("it is asked");
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

#[tokio::test]
async fn an_engine_without_a_leader_takes_no_names_away() {
    let scripted = Scripted::new(200, 5, r#"{"web": []}"#).await;
    let house = following(scripted.address).await;
    until_reachable(&house, true).await;
    for (status, body, part) in
        [(500, "No cluster leader", "No cluster leader"), (200, "nonsense", "cannot be read")]
    {
        scripted.says.send_replace((status, 6, body));
        until_reachable(&house, false).await;
        let error = house.registry.engine().expect("an engine").view().error.expect("an error");
        assert!(error.contains(part), "{error}");
        scripted.says.send_replace((200, 7, r#"{"web": []}"#));
        until_reachable(&house, true).await;
    }
}

#[tokio::test]
async fn an_index_that_goes_back_is_read_anew() {
    let scripted = Scripted::new(200, 50, r#"{"web": []}"#).await;
    let house = following(scripted.address).await;
    scripted.until_asked("GET /v1/catalog/services?index=50&", 1).await;
    scripted.says.send_replace((200, 3, r#"{"web": []}"#));
    // Not at 3, at which it would wait: what happened between is not known.
    scripted.until_asked("GET /v1/catalog/services HTTP", 2).await;
    scripted.until_asked("GET /v1/catalog/services?index=3&", 1).await;
    scripted.until_asked("GET /v1/health/service/web HTTP", 2).await;
    drop(house);
}

#[tokio::test]
async fn the_engine_is_brought_its_token() {
    let scripted = Scripted::new(200, 1, "{}").await;
    let house = House::with(|raw| {
        raw.engine = Some(format!("consul://{}", scripted.address));
        raw.token = Some("correct horse".into());
    })
    .await;
    until_reachable(&house, true).await;
    let seen = scripted.seen.lock().expect("not poisoned").join("\n");
    assert!(seen.contains("x-consul-token: correct horse"), "{seen}");
}

#[tokio::test]
async fn what_is_no_address_of_an_engine_is_refused() {
    for wrong in ["etcd://a:1", "127.0.0.1:8500", "consul://"] {
        assert!(EngineAddress::parse(wrong).is_err(), "{wrong}");
        let mut report = posthouse_base::config::Report::new();
        let raw = Raw { engine: Some(wrong.into()), ..Raw::default() };
        let path = posthouse_base::config::Path::root().key("registry");
        assert_eq!(Config::check(&raw, &path, &mut report), None);
        assert_eq!(report.findings()[0].path.to_string(), "registry.engine");
    }
}
