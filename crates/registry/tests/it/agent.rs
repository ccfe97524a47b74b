//! `/v1/agent/…`.

use serde_json::json;

use crate::client::House;

#[tokio::test]
async fn what_is_registered_is_shown_in_full_and_goes_when_deregistered() {
    let house = House::new().await;
    house
        .register(
            r#"{"ID": "web-1", "Name": "web", "Tags": ["v1"], "Address": "10.0.0.1", "Port": 80,
                "Meta": {"zone": "a"}, "Weights": {"Passing": 5, "Warning": 2},
                "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}},
                "EnableTagOverride": true,
                "Check": {"TTL": "30s", "Status": "passing", "Notes": "n"}}"#,
        )
        .await;
    let lan = json!({ "Address": "10.0.0.1", "Port": 80 });
    let mut expected = json!({
        "ID": "web-1", "Service": "web", "Tags": ["v1"], "Meta": { "zone": "a" }, "Port": 80,
        "Address": "10.0.0.1",
        "TaggedAddresses": {
            "lan_ipv4": lan, "wan_ipv4": lan, "wan": { "Address": "1.2.3.4", "Port": 8080 },
        },
        "Weights": { "Passing": 5, "Warning": 2 },
        "EnableTagOverride": true, "Datacenter": "dc1",
    });
    assert_eq!(house.json("/v1/agent/services").await, json!({ "web-1": expected }));
    let one = house.json("/v1/agent/service/web-1").await;
    expected["ContentHash"] = one["ContentHash"].clone();
    assert_eq!(one, expected);
    let check = &house.json("/v1/agent/checks").await["service:web-1"];
    assert_eq!(
        (&check["Name"], &check["Status"], &check["Type"], &check["Notes"], &check["ServiceName"]),
        (
            &json!("Service 'web' check"),
            &json!("passing"),
            &json!("ttl"),
            &json!("n"),
            &json!("web")
        )
    );

    assert_eq!(house.put("/v1/agent/service/deregister/web-1", "").await.status, 200);
    assert_eq!(house.json("/v1/agent/services").await, json!({}));
    assert_eq!(house.json("/v1/agent/checks").await, json!({}));
    assert_eq!(house.json("/v1/health/service/web").await, json!([]));
    let again = house.put("/v1/agent/service/deregister/web-1", "").await;
    assert_eq!(again.status, 404);
    assert!(again.body.starts_with(r#"Unknown service ID "web-1""#), "{}", again.body);
    assert_eq!(house.get("/v1/agent/service/web-1").await.body, "unknown service ID: web-1");
}

#[tokio::test]
async fn fields_are_read_whatever_their_case_and_an_instance_s_id_is_its_name_by_default() {
    let house = House::new().await;
    house
        .register(
            r#"{"name": "web", "port": 80, "tags": null, "check": {},
                "checks": [{"name": "a", "ttl": "1m"}, {"check_id": "b", "ttl": 60000000000}]}"#,
        )
        .await;
    assert_eq!(house.json("/v1/agent/services").await["web"]["Port"], 80);
    let checks = house.json("/v1/agent/checks").await;
    let ids: Vec<_> = checks.as_object().expect("a map").keys().collect();
    assert_eq!(ids, ["b", "service:web:1"]);
    let element = &house.json("/v1/health/service/web").await[0];
    assert_eq!(element["Service"]["Address"], "");
    assert_eq!(element["Node"]["Address"], "127.0.0.1");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let house = House::new().await;
    for (body, reason) in [
        ("{", "Request decode failed: "),
        ("[]", "Request decode failed: "),
        ("{}", "Missing service name"),
        (r#"{"Name": 1}"#, "Request decode failed: "),
        (r#"{"Name": "a", "Port": 65536}"#, "Invalid port 65536"),
        (r#"{"Name": "a", "Address": "0.0.0.0"}"#, "Invalid service address"),
        (r#"{"Name": "a", "Kind": "connect-proxy"}"#, "services of kind"),
        (r#"{"Name": "a", "connect": {"sidecar_service": {}}}"#, "Invalid Connect"),
        (r#"{"Name": "a", "Weights": {"Passing": 0}}"#, "Invalid Weights"),
        (r#"{"Name": "a", "Check": {"Args": ["rm"], "Interval": "1s"}}"#, "Invalid check: scripts"),
        (r#"{"Name": "a", "Check": {"Name": "x"}}"#, "Invalid check: TTL must be > 0"),
        (r#"{"Name": "a", "Check": {"TCP": "h:1"}}"#, "Invalid check: Interval must be > 0"),
        (r#"{"Name": "a", "Check": {"TCP": "h", "Interval": "1s"}}"#, "Invalid check: TCP"),
        (r#"{"Name": "a", "Check": {"HTTP": "h:1", "Interval": "1s"}}"#, "Invalid check: `h:1`"),
        (
            r#"{"Name": "a", "Check": {"TTL": "1s", "Interval": "1s"}}"#,
            "Invalid check: Interval and",
        ),
        (r#"{"Name": "a", "Check": {"TTL": "soon"}}"#, "Request decode failed: time"),
        (r#"{"Name": "a", "Check": {"TTL": "1s", "Status": "good"}}"#, "Bad check status"),
        (r#"{"Name": "a", "Check": {"UDP": "h:1", "Interval": "1s"}}"#, "Invalid check: UDP"),
        (
            r#"{"Name": "a", "Check": {"CheckID": "serfHealth", "TTL": "1s"}}"#,
            r#""serfHealth" belongs"#,
        ),
        (r#"{"Name": "a", "Check": {"AliasService": "b"}}"#, "Invalid check: alias"),
    ] {
        let answer = house.put("/v1/agent/service/register", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.starts_with(reason), "{body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(house.json("/v1/agent/services").await, json!({}));
}

#[tokio::test]
async fn a_ttl_check_is_as_it_was_last_reported() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Check": {"CheckID": "alive", "TTL": "1h"}}"#).await;
    let check = async || house.json("/v1/agent/checks").await["alive"].clone();
    assert_eq!(check().await["Status"], "critical");
    for (word, note, status) in
        [("pass", "fine", "passing"), ("warn", "hot", "warning"), ("fail", "dead", "critical")]
    {
        let answer = house.put(&format!("/v1/agent/check/{word}/alive?note={note}"), "").await;
        assert_eq!(answer.status, 200);
        let check = check().await;
        assert_eq!((&check["Status"], &check["Output"]), (&json!(status), &json!(note)));
    }
    let long = "x".repeat(10_000);
    let update = format!(r#"{{"Status": "passing", "Output": "{long}"}}"#);
    assert_eq!(house.put("/v1/agent/check/update/alive", &update).await.status, 200);
    assert_eq!(check().await["Output"].as_str().expect("text").len(), 4096);
    let bad = house.put("/v1/agent/check/update/alive", r#"{"Status": "ok"}"#).await;
    assert_eq!((bad.status, bad.body.as_str()), (400, r#"Invalid check status: "ok""#));
    let unknown = house.put("/v1/agent/check/pass/dead", "").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.starts_with(r#"Unknown check ID "dead""#), "{}", unknown.body);
}

#[tokio::test]
async fn maintenance_makes_critical_until_it_is_over() {
    let house = House::new().await;
    house.register(r#"{"Name": "web"}"#).await;
    let passing = async || house.json("/v1/health/service/web?passing").await;
    assert_eq!(passing().await.as_array().expect("a list").len(), 1);
    for (path, id) in [
        ("/v1/agent/service/maintenance/web", "_service_maintenance:web"),
        ("/v1/agent/maintenance", "_node_maintenance"),
    ] {
        assert_eq!(house.put(&format!("{path}?enable=true&reason=oil"), "").await.status, 200);
        assert_eq!(passing().await, json!([]));
        let check = &house.json("/v1/agent/checks").await[id];
        assert_eq!((&check["Status"], &check["Notes"]), (&json!("critical"), &json!("oil")));
        let health = house.get("/v1/agent/health/service/id/web?format=text").await;
        assert_eq!((health.status, health.body.as_str()), (503, "maintenance"));
        // Registering again does not end what an operator has begun.
        let again =
            house.put("/v1/agent/service/register?replace-existing-checks=1", r#"{"Name":"web"}"#);
        assert_eq!(again.await.status, 200);
        assert_eq!(passing().await, json!([]));
        assert_eq!(house.put(&format!("{path}?enable=false"), "").await.status, 200);
        assert_eq!(passing().await.as_array().expect("a list").len(), 1);
    }
    let path = "/v1/agent/service/maintenance/web";
    assert_eq!(house.put(path, "").await.body, "Missing value for enable");
    assert_eq!(house.put(&format!("{path}?enable=x"), "").await.status, 400);
    assert_eq!(house.put("/v1/agent/service/maintenance/no?enable=true", "").await.status, 404);
}

#[tokio::test]
async fn registering_again_keeps_the_status_and_replaces_checks_when_told() {
    let house = House::new().await;
    let body = r#"{"Name": "web", "Checks": [{"CheckID": "a", "TTL": "1h"}, {"CheckID": "b", "TTL": "1h"}]}"#;
    house.register(body).await;
    house.put("/v1/agent/check/pass/a", "").await;
    let before = house.get("/v1/health/service/web").await;
    house.register(body).await;
    let after = house.get("/v1/health/service/web").await;
    assert_eq!((before.index(), before.body), (after.index(), after.body), "nothing has changed");

    let fewer = r#"{"Name": "web", "Port": 81, "Checks": [{"CheckID": "a", "TTL": "2h"}]}"#;
    house.register(fewer).await;
    let checks = house.json("/v1/agent/checks").await;
    assert_eq!(checks["a"]["Status"], "passing");
    assert!(checks["b"].is_object());
    house.put("/v1/agent/service/register?replace-existing-checks=true", fewer).await;
    assert!(house.json("/v1/agent/checks").await["b"].is_null());
}

#[tokio::test]
async fn a_check_may_come_and_go_by_itself() {
    let house = House::new().await;
    house.register(r#"{"Name": "web"}"#).await;
    let register = async |body: &str| house.put("/v1/agent/check/register", body).await;
    let alone = register(r#"{"Name": "disk", "TTL": "1h", "Status": "passing"}"#).await;
    assert_eq!(alone.status, 200);
    let body = r#"{"ID": "up", "Name": "Up", "ServiceID": "web", "TTL": "1h"}"#;
    assert_eq!(register(body).await.status, 200);
    let checks = house.json("/v1/health/checks/web").await;
    assert_eq!((&checks[0]["CheckID"], checks.as_array().map(Vec::len)), (&json!("up"), Some(1)));
    let on_node = house.json("/v1/health/node/posthouse-1").await;
    let ids: Vec<_> = on_node.as_array().expect("a list").iter().map(|c| &c["CheckID"]).collect();
    assert_eq!(ids, ["disk", "serfHealth", "up"]);

    assert_eq!(register(r#"{"TTL": "1h"}"#).await.body, "Missing check name");
    let orphan = register(r#"{"Name": "x", "ServiceID": "no", "TTL": "1h"}"#).await;
    assert_eq!((orphan.status, orphan.body.as_str()), (404, r#"ServiceID "no" does not exist"#));
    assert_eq!(house.put("/v1/agent/check/deregister/up", "").await.status, 200);
    assert_eq!(house.put("/v1/agent/check/deregister/up", "").await.status, 404);
    assert_eq!(house.put("/v1/agent/check/deregister/serfHealth", "").await.status, 400);
    assert_eq!(house.json("/v1/health/checks/web").await, json!([]));
}

#[tokio::test]
async fn the_health_of_an_instance_is_also_the_status_code() {
    let house = House::new().await;
    house
        .register(r#"{"ID": "w1", "Name": "web", "Check": {"TTL": "1h", "Status": "passing"}}"#)
        .await;
    house
        .register(r#"{"ID": "w2", "Name": "web", "Check": {"TTL": "1h", "Status": "warning"}}"#)
        .await;
    let good = house.get("/v1/agent/health/service/id/w1").await;
    assert_eq!(good.status, 200);
    let good: serde_json::Value = serde_json::from_str(&good.body).expect("JSON");
    assert_eq!(
        (&good["AggregatedStatus"], &good["Service"]["ID"]),
        (&json!("passing"), &json!("w1"))
    );
    assert_eq!(house.get("/v1/agent/health/service/name/web").await.status, 429);
    let text = house.get("/v1/agent/health/service/name/web?format=text").await;
    assert_eq!((text.status, text.body.as_str()), (429, "warning"));
    house.put("/v1/agent/check/fail/service:w1", "").await;
    assert_eq!(house.get("/v1/agent/health/service/name/web").await.status, 503);
    assert_eq!(house.get("/v1/agent/health/service/name/no").await.status, 404);
    assert_eq!(house.get("/v1/agent/health/service/id/no").await.status, 404);
}

#[tokio::test]
async fn the_agent_tells_about_itself() {
    let house = House::with(|raw| raw.node = "here".into()).await;
    let about = house.json("/v1/agent/self").await;
    assert_eq!(about["Config"]["Datacenter"], "dc1");
    assert_eq!(about["Config"]["NodeName"], "here");
    let wan = house.json("/v1/agent/members?wan=1").await;
    assert_eq!(wan[0]["Name"], "here.dc1");
    let members = house.json("/v1/agent/members").await;
    assert_eq!(about["Member"], members[0]);
    assert_eq!((&members[0]["Name"], &members[0]["Status"]), (&json!("here"), &json!(1)));
    let leader = house.json("/v1/status/leader").await;
    assert_eq!(leader, json!(house.address().to_string()));
    assert_eq!(house.json("/v1/status/peers").await, json!([leader]));
    assert_eq!(about["Stats"]["consul"]["leader_addr"], leader);
    assert_eq!(house.json("/v1/agent/version").await["HumanVersion"], about["Config"]["Version"]);
    house.put("/v1/kv/a", "1").await;
    let gauges = house.json("/v1/agent/metrics").await["Gauges"].clone();
    let gauges = gauges.as_array().expect("a list");
    let keys = json!({ "Name": "consul.state.kv_entries", "Value": 1, "Labels": {} });
    assert!(gauges.contains(&keys), "{gauges:?}");
    let text = house.get("/v1/agent/metrics?format=prometheus").await;
    assert!(text.body.contains("posthouse_registry_services 0\n"), "{}", text.body);
    let monitor = house.get("/v1/agent/monitor?loglevel=loud").await;
    assert_eq!((monitor.status, monitor.body.as_str()), (400, "Unknown log level: loud"));
    assert_eq!(house.get("/v1/agent/monitor").await.status, 501);
    let token = house.put("/v1/agent/token/default", r#"{"Token": "x"}"#).await;
    assert_eq!(token.status, 401);
    assert!(token.body.starts_with("ACL support disabled"), "{}", token.body);
    assert_eq!(house.get("/").await.status, 200);
}
