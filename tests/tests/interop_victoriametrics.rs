//! Real VictoriaMetrics scrapes what it finds in Posthouse's registry as it would in Consul.

use std::net::SocketAddr;
use std::process::Command;

use posthouse_tests::backend::Backend;
use posthouse_tests::program::Program;
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, client, eventually, free_port};

/// VictoriaMetrics that scrapes every instance of `metrics-source`.
fn start_victoriametrics(house: &House) -> (SocketAddr, Program) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = format!(
        "
scrape_configs:
  - job_name: found
    scrape_interval: 1s
    consul_sd_configs: [ {{ server: \"{}\", services: [ metrics-source ] }} ]
    relabel_configs:
      - {{ source_labels: [ __meta_consul_service_id ], target_label: instance_id }}
      - {{ source_labels: [ __meta_consul_tags ], target_label: tags }}
",
        house.registry()
    );
    let file = house.folder().join("scrape.yaml");
    std::fs::write(&file, config).expect("a configuration file");
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!("-httpListenAddr={address}"))
        .arg(format!("-storageDataPath={}", house.folder().join("metrics").display()))
        .arg(format!("-promscrape.config={}", file.display()))
        .arg("-promscrape.consulSDCheckInterval=1s")
        .arg("-memory.allowedBytes=64MiB")
        .arg("-retentionPeriod=100y")
        .arg("-search.latencyOffset=1ms");
    (address, Program::start("victoria-metrics", command, house.folder()))
}

/// A service that has counted seven orders.
async fn metrics_source() -> Backend {
    Backend::answering(|_| http::Response::new("shop_orders_total 7\n".into())).await
}

/// Waits until the scraped targets are exactly these instances, all up.
async fn scrapes(victoria: SocketAddr, expected: &[&str]) {
    eventually(&format!("VictoriaMetrics to scrape {expected:?}"), || async {
        let targets = client::get_json(victoria, "/api/v1/targets").await;
        let targets = targets.map_err(|error| error.to_string())?;
        let active = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let up = active.iter().filter(|target| target["health"] == "up");
        let mut ids: Vec<_> = up.filter_map(|up| up["labels"]["instance_id"].as_str()).collect();
        ids.sort_unstable();
        ensure(ids == expected && active.len() == ids.len(), || targets.to_string())
    })
    .await;
}

#[tokio::test]
async fn victoriametrics_scrapes_what_is_registered() {
    let house = House::start("registry: { address: 127.0.0.1:0 }").await;
    let (source, other) = (metrics_source().await, metrics_source().await);
    let registry = house.registry();
    client::register(registry, "metrics-source", "source-1", source.address())
        .await
        .expect("a registration");

    let (victoria, _running) = start_victoriametrics(&house);
    scrapes(victoria, &["source-1"]).await;
    assert_eq!(source.seen()[0].uri.path(), "/metrics");
    client::register(registry, "metrics-source", "source-2", other.address())
        .await
        .expect("a registration");
    scrapes(victoria, &["source-1", "source-2"]).await;

    eventually("the scraped value", || async {
        let path = "/api/v1/query?query=shop_orders_total&nocache=1";
        let found = client::get_json(victoria, path).await.map_err(|error| error.to_string())?;
        let value = &found["data"]["result"][0]["value"][1];
        ensure(value == "7", || found.to_string())
    })
    .await;

    client::deregister(registry, "source-1").await.expect("a deregistration");
    scrapes(victoria, &["source-2"]).await;
}
