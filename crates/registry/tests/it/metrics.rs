//! What the registry reports of itself.

use crate::client::House;

#[tokio::test]
async fn the_metrics_tell_what_is_there_and_what_happened() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Check": {"TTL": "1h", "Status": "passing"}}"#).await;
    house.register(r#"{"Name": "db", "Check": {"TTL": "1h"}}"#).await;
    house.put("/v1/agent/check/fail/service:web", "").await;
    house.register(r#"{"Name": "gone"}"#).await;
    house.put("/v1/agent/service/deregister/gone", "").await;
    house.put("/v1/kv/colour", "red").await;
    house.put("/v1/kv/size", "large").await;
    house.delete("/v1/kv/size").await;
    house.put("/v1/session/create", "{}").await;
    let session = house.put("/v1/session/create", "{}").await.json()["ID"].clone();
    house.put(&format!("/v1/session/destroy/{}", session.as_str().expect("an id")), "").await;
    house.put("/v1/event/fire/deploy", "").await;
    let mut registry = prometheus_client::registry::Registry::default();
    house.registry.handle().register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
    for line in [
        "posthouse_registry_services 2",
        "posthouse_registry_nodes 1",
        "posthouse_registry_checks 3",
        "posthouse_registry_watchers 0",
        "posthouse_registry_kv_keys 1",
        "posthouse_registry_kv_bytes 9",
        "posthouse_registry_kv_writes_total 3",
        "posthouse_registry_sessions 1",
        r#"posthouse_registry_sessions_ended_total{cause="destroyed"} 1"#,
        "posthouse_registry_user_events_total 1",
        r#"posthouse_registry_instances{status="passing"} 0"#,
        r#"posthouse_registry_instances{status="critical"} 2"#,
        "posthouse_registry_registrations_total 3",
        r#"posthouse_registry_deregistrations_total{cause="asked"} 1"#,
        r#"posthouse_registry_status_changes_total{status="critical"} 1"#,
    ] {
        assert!(text.lines().any(|is| is == line), "no `{line}` in:\n{text}");
    }
}
