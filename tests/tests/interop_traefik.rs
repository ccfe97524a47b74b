//! Real Traefik finds services in Posthouse's registry as it would in Consul.

use std::net::SocketAddr;

use posthouse_tests::backend::Backend;
use posthouse_tests::program::Program;
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, client, eventually, free_port, python};

/// Traefik with Consul's catalog as its only provider. It polls less often than a test waits, so
/// what it learns in time was pushed to it.
fn start_traefik(house: &House) -> (SocketAddr, Program) {
    let entry = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = format!(
        "
global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
log: {{ level: INFO }}
entryPoints: {{ web: {{ address: \"{entry}\" }} }}
providers:
  consulCatalog:
    endpoint: {{ address: \"{}\", scheme: http }}
    watch: true
    refreshInterval: 300s
    defaultRule: \"Host(`{{{{ .Name }}}}.example`)\"
",
        house.registry()
    );
    let file = house.folder().join("traefik.yaml");
    std::fs::write(&file, config).expect("a configuration file");
    let mut command = python::tool("traefik");
    command.arg(format!("--configFile={}", file.display()));
    (entry, Program::start("traefik", command, house.folder()))
}

/// Waits until Traefik answers from exactly these backends when asked often enough.
async fn routes_to(traefik: SocketAddr, expected: &[&str]) {
    eventually(&format!("Traefik to route to {expected:?}"), || async {
        let mut seen = Vec::new();
        for _ in 0..4 {
            let answer = client::get(traefik, "web.example", "/").await;
            let answer = answer.map_err(|error| error.to_string())?;
            seen.push(String::from_utf8_lossy(answer.body()).trim().to_owned());
        }
        seen.sort();
        seen.dedup();
        ensure(seen == expected, || format!("it routes to {seen:?}"))
    })
    .await;
}

#[tokio::test]
async fn traefik_follows_the_registry_by_push() {
    let house = House::start("registry: { address: 127.0.0.1:0 }").await;
    let (one, two) = (Backend::named("one").await, Backend::named("two").await);
    let registry = house.registry();
    client::register(registry, "web", "web-1", one.address()).await.expect("a registration");

    let (traefik, _running) = start_traefik(&house);
    routes_to(traefik, &["one"]).await;
    client::register(registry, "web", "web-2", two.address()).await.expect("a registration");
    routes_to(traefik, &["one", "two"]).await;
    client::deregister(registry, "web-1").await.expect("a deregistration");
    routes_to(traefik, &["two"]).await;
    client::deregister(registry, "web-2").await.expect("a deregistration");
    routes_to(traefik, &["404 page not found"]).await;
}
