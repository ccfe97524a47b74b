//! `/v1/catalog/…`, `/v1/health/…` and what all reads share.

use serde_json::{Value, json};

use crate::client::{House, request};

fn ids<'a>(list: &'a Value, path: &[&str]) -> Vec<&'a str> {
    let id = |element: &'a Value| path.iter().fold(element, |element, key| &element[*key]);
    let list = list.as_array().expect("a list");
    list.iter().map(|element| id(element).as_str().expect("text")).collect()
}

async fn fleet() -> House {
    let house = House::new().await;
    house
        .register(r#"{"ID": "w1", "Name": "web", "Tags": ["v1", "Blue"], "Meta": {"v": "1"}}"#)
        .await;
    house.register(r#"{"ID": "w2", "Name": "web", "Tags": ["v2", "blue"], "Port": 80}"#).await;
    house.register(r#"{"ID": "db", "Name": "db"}"#).await;
    let far = house
        .put(
            "/v1/catalog/register",
            r#"{"Node": "far", "Address": "10.0.0.9", "NodeMeta": {"rack": "r1"},
                "Service": {"ID": "w9", "Service": "web", "Tags": ["v1"], "Port": 90},
                "Checks": [{"Name": "up", "ServiceID": "w9", "Status": "warning"},
                           {"CheckID": "ping", "Status": "passing"}]}"#,
        )
        .await;
    assert_eq!(far.json(), json!(true));
    house
}

#[tokio::test]
async fn services_are_listed_and_selected() {
    let house = fleet().await;
    let services = house.json("/v1/catalog/services").await;
    assert_eq!(services, json!({ "db": [], "web": ["Blue", "blue", "v1", "v2"] }));
    let racked = house.json("/v1/catalog/services?node-meta=rack:r1").await;
    assert_eq!(racked, json!({ "web": ["v1"] }));
    let filtered = house.json("/v1/catalog/services?filter=ServiceName!=web").await;
    assert_eq!(filtered, json!({ "db": [] }));

    let select = async |query: &str| {
        let list = house.json(&format!("/v1/catalog/service/web?{query}")).await;
        ids(&list, &["ServiceID"]).join(" ")
    };
    assert_eq!(select("").await, "w9 w1 w2");
    assert_eq!(select("tag=blue&near=_agent").await, "w1 w2");
    assert_eq!(select("tag=BLUE&tag=v1").await, "w1");
    assert_eq!(select("node-meta=rack:r1").await, "w9");
    assert_eq!(select("node-meta=rack:r2").await, "");
    assert_eq!(select("filter=ServiceMeta.v%20==%201%20or%20ServicePort%20==%2090").await, "w9 w1");
    let element = &house.json("/v1/catalog/service/web?tag=v2").await[0];
    assert_eq!(
        (&element["ServiceName"], &element["ServicePort"], &element["ServiceWeights"]),
        (&json!("web"), &json!(80), &json!({ "Passing": 1, "Warning": 1 }))
    );
}

#[tokio::test]
async fn health_selects_by_status_tag_and_filter() {
    let house = fleet().await;
    let select = async |query: &str| {
        let list = house.json(&format!("/v1/health/service/web?{query}")).await;
        ids(&list, &["Service", "ID"]).join(" ")
    };
    assert_eq!(select("").await, "w9 w1 w2");
    assert_eq!(select("passing").await, "w1 w2");
    assert_eq!(select("passing=false").await, "w9 w1 w2");
    assert_eq!(select("passing=1&tag=v1").await, "w1");
    assert_eq!(select("filter=%22v1%22+in+Service.Tags+and+Node.Meta+is+not+empty").await, "w9 w1");
    assert_eq!(select("filter=Checks.Status+==+warning").await, "w9");
    let bad = house.get("/v1/health/service/web?filter=Service.Nope+==+1").await;
    assert_eq!(bad.status, 400);
    let start = "Failed to create boolean expression evaluator: 1:1: ";
    assert!(bad.body.starts_with(start), "{}", bad.body);

    let element = &house.json("/v1/health/service/web?tag=v1&node-meta=rack:r1").await[0];
    assert_eq!(element["Node"]["Address"], "10.0.0.9");
    assert_eq!(ids(&element["Checks"], &["CheckID"]), ["ping", "up"]);
    assert_eq!(element["Checks"][0]["ServiceID"], "");
    assert_eq!(element["Checks"][1]["ServiceTags"], json!(["v1"]));
}

#[tokio::test]
async fn checks_are_listed_by_status_and_node() {
    let house = fleet().await;
    let any = house.json("/v1/health/state/any").await;
    assert_eq!(ids(&any, &["CheckID"]), ["ping", "up", "serfHealth"]);
    let warning = house.json("/v1/health/state/warning").await;
    assert_eq!(ids(&warning, &["CheckID"]), ["up"]);
    assert_eq!(house.json("/v1/health/state/critical").await, json!([]));
    let far = house.json("/v1/health/node/far?filter=CheckID+matches+`^p`").await;
    assert_eq!(ids(&far, &["CheckID"]), ["ping"]);
    assert_eq!(house.json("/v1/health/node/nowhere").await, json!([]));
}

#[tokio::test]
async fn nodes_are_shown_with_what_runs_on_them_and_can_be_removed() {
    let house = fleet().await;
    let nodes = house.json("/v1/catalog/nodes").await;
    assert_eq!(ids(&nodes, &["Node"]), ["far", "posthouse-1"]);
    assert_eq!(nodes[1]["TaggedAddresses"]["lan"], "127.0.0.1");
    let far = house.json("/v1/catalog/node/far").await;
    assert_eq!(far["Services"]["w9"]["Port"], 90);
    let far = house.json("/v1/catalog/node-services/far").await;
    assert_eq!(ids(&far["Services"], &["ID"]), ["w9"]);
    assert_eq!(house.json("/v1/catalog/node/nowhere").await, Value::Null);
    assert_eq!(house.json("/v1/catalog/datacenters").await, json!(["dc1"]));

    let deregister = async |body: &str| house.put("/v1/catalog/deregister", body).await;
    assert_eq!(deregister(r#"{"Node": "far", "CheckID": "up"}"#).await.json(), json!(true));
    assert_eq!(deregister(r#"{"Node": "far", "ServiceID": "w9"}"#).await.json(), json!(true));
    assert_eq!(ids(&house.json("/v1/health/node/far").await, &["CheckID"]), ["ping"]);
    assert_eq!(deregister(r#"{"Node": "far"}"#).await.json(), json!(true));
    assert_eq!(deregister(r#"{"Node": "far"}"#).await.json(), json!(true));
    assert_eq!(ids(&house.json("/v1/catalog/nodes").await, &["Node"]), ["posthouse-1"]);
    assert_eq!(deregister(r#"{"Node": "posthouse-1"}"#).await.status, 400);
    assert_eq!(deregister("{}").await.body, "Must provide node");
    assert_eq!(deregister(r#"{"Node": "far", "Datacenter": "x"}"#).await.status, 500);
}

#[tokio::test]
async fn a_registration_in_the_catalog_may_leave_the_node_as_it_is() {
    let house = fleet().await;
    let register = async |body: &str| house.put("/v1/catalog/register", body).await;
    let skip = r#"{"Node": "far", "SkipNodeUpdate": true, "Check": {"CheckID": "ping", "Status": "critical"}}"#;
    assert_eq!(register(skip).await.json(), json!(true));
    let node = &house.json("/v1/catalog/node/far").await["Node"];
    assert_eq!((&node["Address"], &node["Meta"]), (&json!("10.0.0.9"), &json!({ "rack": "r1" })));
    assert_eq!(ids(&house.json("/v1/health/state/critical").await, &["CheckID"]), ["ping"]);
    assert_eq!(register(r#"{"Node": "far"}"#).await.body, "Must provide node and address");
    let nameless = r#"{"Node": "far", "Address": "a", "Service": {"ID": "x"}}"#;
    assert_eq!(register(nameless).await.body, "Must provide service name with ID");
}

#[tokio::test]
async fn answers_carry_what_consul_s_carry() {
    let house = fleet().await;
    let answer = house.get("/v1/catalog/services?stale&dc=dc1&token=t&cached").await;
    assert!(answer.index() > 0);
    for (name, value) in [
        ("X-Consul-KnownLeader", "true"),
        ("X-Consul-LastContact", "0"),
        ("X-Consul-Effective-Consistency", "stale"),
        ("X-Consul-Results-Filtered-By-ACLs", "false"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let pretty = house.get("/v1/catalog/datacenters?pretty").await;
    assert_eq!(pretty.body, "[\n    \"dc1\"\n]\n");
    let elsewhere = house.get("/v1/catalog/services?dc=dc2").await;
    assert_eq!((elsewhere.status, elsewhere.body.as_str()), (500, "No path to datacenter"));
}

#[tokio::test]
async fn names_are_found_whatever_their_case() {
    let house = House::new().await;
    house.register(r#"{"ID": "1", "Name": "Web", "Tags": ["a"]}"#).await;
    let path = "/v1/health/service/WEB";
    let before = house.get(path).await;
    assert_eq!(before.json()[0]["Service"]["Service"], "Web");
    house.register(r#"{"ID": "2", "Name": "web", "Tags": ["b"]}"#).await;
    let after = house.get(&format!("{path}?index={}", before.index())).await;
    assert_eq!(after.json().as_array().map(Vec::len), Some(2));
    let services = house.json("/v1/catalog/services").await;
    assert_eq!(services, json!({ "Web": ["a"], "web": ["b"] }), "as they were written");
    let node = house.json("/v1/catalog/node/POSTHOUSE-1").await;
    assert_eq!(node["Node"]["Node"], "posthouse-1");
}

#[tokio::test]
async fn what_is_near_comes_first() {
    let house = House::new().await;
    for node in ["a", "z"] {
        let service = json!({ "ID": "web", "Service": "web" });
        let body = json!({ "Node": node, "Address": "10.0.0.1", "Service": service });
        house.put("/v1/catalog/register", &body.to_string()).await;
    }
    house.register(r#"{"Name": "web"}"#).await;
    for (near, order) in [
        ("", ["a", "posthouse-1", "z"]),
        ("_agent", ["posthouse-1", "a", "z"]),
        ("z", ["z", "a", "posthouse-1"]),
        ("_ip", ["a", "posthouse-1", "z"]),
        ("unknown", ["a", "posthouse-1", "z"]),
    ] {
        for (path, pointer) in [
            ("health/service/web", "/Node/Node"),
            ("catalog/service/web", "/Node"),
            ("catalog/nodes", "/Node"),
        ] {
            let list = house.json(&format!("/v1/{path}?near={near}")).await;
            let list = list.as_array().expect("a list");
            let nodes: Vec<_> = list.iter().map(|element| element.pointer(pointer)).collect();
            assert_eq!(
                nodes,
                order.map(|node| Some(json!(node))).each_ref().map(Option::as_ref),
                "{path} {near}"
            );
        }
    }
}

#[tokio::test]
async fn there_is_no_mesh_no_peer_and_no_distance() {
    let house = House::new().await;
    house.register(r#"{"Name": "web"}"#).await;
    for path in [
        "health/connect/web",
        "health/ingress/web",
        "catalog/connect/web?filter=ServicePort%3D%3D1",
        "health/service/web?peer=other",
        "catalog/service/web?peer=other",
        "coordinate/nodes",
        "coordinate/datacenters",
    ] {
        let answer = house.get(&format!("/v1/{path}")).await;
        assert_eq!(answer.json(), json!([]), "{path}");
        assert!(answer.index() > 0);
    }
    assert_eq!(house.get("/v1/coordinate/node/posthouse-1").await.status, 404);
}

#[tokio::test]
async fn what_is_not_served_is_said_so() {
    let house = House::new().await;
    for path in [
        "acl/login",
        "config/x",
        "query",
        "operator/raft/configuration",
        "peering",
        "connect/ca/roots",
        "agent/connect/ca/roots",
        "agent/join/10.0.0.1",
        "agent/leave",
        "agent/force-leave/n",
        "agent/reload",
        "agent/host",
        "catalog/gateway-services/g",
        "coordinate/update",
        "internal/ui/services",
        "snapshot",
    ] {
        let answer = request(house.address(), "PUT", &format!("/v1/{path}"), "{}").await;
        assert_eq!(answer.status, 501, "{path}");
        assert!(answer.body.starts_with("Posthouse does not serve"), "{path}: {}", answer.body);
    }
    assert_eq!(house.get("/v1/nothing").await.status, 404);
    let wrong = request(house.address(), "DELETE", "/v1/catalog/services", "").await;
    assert_eq!((wrong.status, wrong.body.as_str()), (405, "method DELETE not allowed"));
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
    let wrong = house.get("/v1/agent/service/deregister/x").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("PUT")));
}
