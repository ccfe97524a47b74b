//! The admin API from outside: answers, problem details, the token, the description.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

mod common;

use common::House;

const CONFIG: &str = "\
data: ./data
registry: { address: 127.0.0.1:0 }
admin: { address: 127.0.0.1:0 }
listeners: [ { address: 127.0.0.1:0 } ]
services:
  fixed: { instances: [ { address: 127.0.0.1:1, weight: 3 } ] }
routes:
  - name: all
    match: { path: /a/{*rest}, methods: [POST] }
    service: fixed
";

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Asserts that this is a problem of this status about this field.
    fn is_problem(&self, status: u16, field: Option<&str>) {
        let problem = self.json();
        assert_eq!(self.status, status, "{problem}");
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["field"].as_str(), field, "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }
}

/// One request on a connection of its own; `lines` are header lines.
fn ask(address: &str, request: &str, lines: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let host = if lines.to_lowercase().contains("host:") { "" } else { "host: localhost\r\n" };
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {length}\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a request");
    // One that refuses a large body may answer, and close, before it has taken all of it.
    let _refused_early = stream.write_all(body);
    let mut answer = Vec::new();
    let _reset_after_the_answer = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

fn get(address: &str, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), "", b"")
}

#[test]
fn one_instance_is_picked_by_a_policy() {
    let (_folder, _house, admin, addresses) = start(CONFIG);
    let registry = addresses["registry"].as_str().expect("the registry's address");
    for (id, weight, status) in [("w1", 1, "passing"), ("w2", 4, "passing"), ("w3", 9, "critical")]
    {
        let body = json!({
            "ID": id, "Name": "web", "Address": "127.0.0.1", "Port": 80, "Tags": [id],
            "Weights": { "Passing": weight, "Warning": 1 },
            "Check": { "TTL": "1h", "Status": status },
        });
        let put = ask(registry, "PUT /v1/agent/service/register", "", body.to_string().as_bytes());
        assert_eq!(put.status, 200);
    }
    let picked = |query: &str| {
        let answer = get(&admin, &format!("/api/v1/services/web/pick{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        let pick = answer.json();
        assert_eq!(pick["candidates"], if query.contains("tag") { 1 } else { 2 }, "{pick}");
        pick["endpoint"]["registration"]["id"].as_str().expect("an id").to_owned()
    };
    let turns: Vec<String> = (0..4).map(|_| picked("?policy=round-robin")).collect();
    assert_eq!((&turns[0], &turns[1]), (&turns[2], &turns[3]));
    assert_ne!(turns[0], turns[1]);
    // Neither has calls, so the weights decide.
    assert_eq!(picked("?policy=least-requests"), "w2");
    assert_eq!(picked("?policy=weighted&tag=w1"), "w1");
    for policy in ["", "?policy=random", "?policy=weighted"] {
        assert_ne!(picked(policy), "w3", "a critical instance is not picked");
    }
    get(&admin, "/api/v1/services/web/pick?policy=best").is_problem(400, Some("policy"));
    get(&admin, "/api/v1/services/web/pick?policy=random&policy=random")
        .is_problem(400, Some("query"));
    get(&admin, "/api/v1/services/none/pick").is_problem(404, Some("name"));
    get(&admin, "/api/v1/services/web/pick?tag=w3").is_problem(503, None);
    assert_eq!(get(&admin, "/api/v1/names").json(), json!({ "source": "registry" }));
}

fn start(config: &str) -> (tempfile::TempDir, House, String, Value) {
    let folder = common::folder_with("f.yaml", config);
    let (house, addresses) = House::start(folder.path(), &["--config", "f.yaml"]);
    let admin = addresses["admin"].as_str().expect("the admin address").to_owned();
    (folder, house, admin, addresses)
}

#[test]
fn what_is_there_is_shown() {
    let (_folder, _house, admin, addresses) = start(CONFIG);
    let routes = get(&admin, "/api/v1/routes").json();
    let route = &routes["routes"][0];
    assert_eq!((&route["name"], &route["path"]), (&json!("all"), &json!("/a/{*rest}")));
    assert_eq!(route["services"], json!([{ "service": "fixed", "weight": 1 }]));

    let registry = addresses["registry"].as_str().expect("the registry's address");
    let registration = br#"{"Name":"web","ID":"web-1","Address":"127.0.0.1","Port":9}"#;
    let registered = ask(registry, "PUT /v1/agent/service/register", "", registration);
    assert_eq!(registered.status, 200);
    let web = common::wait_for("the gateway to hear of it", || {
        let web = get(&admin, "/api/v1/services/web").json();
        web["endpoints"][0]["live"].is_object().then_some(web)
    });
    assert_eq!((&web["origin"], &web["instances"]), (&json!("registry"), &json!(1)));
    let endpoint = &web["endpoints"][0];
    assert_eq!(endpoint["address"], "127.0.0.1:9");
    assert_eq!(endpoint["registration"]["status"], "passing");

    let services = get(&admin, "/api/v1/services").json();
    let named = |name: &str| {
        let all = services["services"].as_array().expect("a list");
        all.iter().find(|service| service["name"] == name).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(named("fixed")["origin"], "file");
    assert_eq!(named("web")["instances"], 1);
    let fixed = get(&admin, "/api/v1/services/fixed").json();
    assert_eq!(fixed["endpoints"][0]["weight"], 3);

    let page = String::from_utf8(get(&admin, "/metrics").body).expect("text");
    for name in ["posthouse_registry_services 1", "posthouse_access_log_lines", "process_open_fds"]
    {
        assert!(page.contains(name), "no {name} in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    for (path, wanted) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = get(&admin, path);
        assert_eq!((answer.status, answer.body.as_slice()), (200, wanted.as_bytes()));
    }
}

#[test]
fn problems_name_the_field() {
    let (folder, _house, admin, _) = start(CONFIG);
    get(&admin, "/api/v1/services/none").is_problem(404, Some("name"));
    get(&admin, "/nothing/here").is_problem(404, None);
    ask(&admin, "DELETE /api/v1/routes", "", b"").is_problem(405, None);
    let check = "POST /api/v1/configuration/check";
    ask(&admin, check, "", b"\xff").is_problem(400, Some("body"));
    ask(&admin, check, "", &vec![b'#'; 5 << 20]).is_problem(413, Some("body"));
    ask(&admin, "GET /api/v1/nodes", "host: evil.example\r\n", b"").is_problem(403, Some("Host"));

    let checked = ask(&admin, check, "", b"registry: { node: a.b }\n").json();
    assert_eq!(checked["ok"], false);
    assert_eq!(checked["findings"][0]["path"], "registry.node");
    assert_eq!(
        ask(&admin, check, "", b"registry: {}\n").json(),
        json!({ "ok": true, "findings": [] })
    );

    std::fs::write(folder.path().join("f.yaml"), CONFIG.replace("weight: 3", "weight: x"))
        .expect("a file");
    let refused = ask(&admin, "POST /api/v1/reload", "", b"");
    refused.is_problem(422, Some("services.fixed.instances[0].weight"));
    let findings = &refused.json()["reload"]["findings"];
    assert_eq!(findings[0]["line"], 6, "{findings}");
    let configuration = get(&admin, "/api/v1/configuration").json();
    assert_eq!(configuration["version"], 1);
    assert_eq!(configuration["last_reload"]["taken"], false);
}

#[test]
fn with_a_token_everything_but_health_asks_for_it() {
    let config = CONFIG.replace("admin: { ", "admin: { token: a-long-enough-secret, ");
    let (_folder, _house, admin, _) = start(&config);
    for path in ["/api/v1/routes", "/metrics", "/api/v1/openapi.json", "/nothing/here"] {
        let answer = get(&admin, path);
        answer.is_problem(401, Some("Authorization"));
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    for (line, status) in [
        ("authorization: Bearer a-long-enough-secret\r\n", 200),
        ("authorization: bearer a-long-enough-secret\r\nhost: any.example\r\n", 200),
        ("authorization: Bearer a-long-enough-secreT\r\n", 401),
        ("authorization: Basic a-long-enough-secret\r\n", 401),
        ("authorization: a-long-enough-secret\r\n", 401),
    ] {
        assert_eq!(ask(&admin, "GET /api/v1/routes", line, b"").status, status, "{line}");
    }
    assert_eq!(get(&admin, "/healthz").status, 200);
    assert_eq!(get(&admin, "/readyz").status, 200);
}

/// The digest of `operators-have-this-one`, as `sha256sum` prints it.
const DIGEST: &str = "e60b4e0c32e0e7354c7d160ba179bf55aaa7d366c6879f03fb928bbb0e0afa87";

#[test]
fn each_question_says_its_role_and_the_audit_log_who_did_what() {
    let tokens = format!(
        "admin: {{ tokens: [ \
         {{ name: vera, role: viewer, token: viewers-have-this-one }}, \
         {{ name: otto, role: operator, sha256: {DIGEST} }}, \
         {{ name: ada, role: admin, token: admins-have-this-one }} ], "
    );
    let config = CONFIG.replace("admin: { ", &tokens);
    let (folder, house, admin, _) = start(&config);
    let with = |token: &str| format!("authorization: Bearer {token}\r\n");
    let (vera, otto, ada) = (
        with("viewers-have-this-one"),
        with("operators-have-this-one"),
        with("admins-have-this-one"),
    );
    get(&admin, "/api/v1/routes").is_problem(401, Some("Authorization"));
    for (request, lines, status) in [
        ("GET /api/v1/routes", &vera, 200),
        ("HEAD /api/v1/routes", &vera, 200),
        ("POST /api/v1/configuration/check", &vera, 200),
        ("POST /api/v1/reload", &vera, 403),
        ("POST /api/v1/reload?token=never-shown", &otto, 200),
        ("GET /api/v1/audit", &otto, 403),
        ("GET /api/v1/backup", &otto, 403),
        ("GET /api/v1/nothing", &vera, 404),
        ("PATCH /api/v1/routes", &vera, 405),
    ] {
        assert_eq!(ask(&admin, request, lines, b"").status, status, "{request} {lines}");
    }
    let refused = ask(&admin, "POST /api/v1/reload", &vera, b"");
    refused.is_problem(403, Some("Authorization"));
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("`operator`") && detail.contains("`vera`"), "{detail}");

    // The file is changed, and one token less is there.
    let left = config.replace("weight: 3", "weight: 4").replace("name: otto", "name: olga");
    std::fs::write(folder.path().join("f.yaml"), left).expect("a file");
    house.signal(Signal::SIGHUP);
    let entries = common::wait_for("the entry of the reload", || {
        let log = ask(&admin, "GET /api/v1/audit", &ada, b"").json();
        let entries = log["entries"].as_array().expect("a list").clone();
        (entries[0]["action"] == "reload").then_some(entries)
    });
    let told: Vec<String> = entries
        .iter()
        .map(|entry| {
            let word = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", word("who"), word("role"), word("action"), entry["status"])
        })
        .collect();
    assert!(["signal", "file"].contains(&told[0].split(' ').next().expect("a word")), "{told:?}");
    assert_eq!(
        told[1..],
        [
            "vera viewer POST /api/v1/reload 403",
            "otto operator GET /api/v1/backup 403",
            "otto operator POST /api/v1/reload 200",
            "vera viewer POST /api/v1/reload 403",
        ]
    );
    assert_eq!(entries[1]["from"], "127.0.0.1");
    assert!(!json!(entries).to_string().contains("never-shown"));
    let page = |query: &str| ask(&admin, &format!("GET /api/v1/audit?{query}"), &ada, b"");
    let earlier = page(&format!("limit=2&before={}", entries[1]["number"])).json();
    assert_eq!(earlier["entries"], json!(entries[2..4]));
    page("limit=0").is_problem(400, Some("limit"));
    page("limit=x").is_problem(400, Some("query"));
}

#[test]
fn what_is_described_is_there() {
    let messages = "messages: { address: 127.0.0.1:0, http: { address: 127.0.0.1:0 } }";
    let (_folder, _house, admin, _) = start(&format!("{CONFIG}{messages}\n"));
    let description = get(&admin, "/api/v1/openapi.json").json();
    // Which paths are described, the golden file says.
    let paths: Vec<&String> = description["paths"].as_object().expect("paths").keys().collect();
    assert!(!paths.is_empty());
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let role = operation["x-posthouse-role"].as_str().unwrap_or_default();
            assert!(["viewer", "operator", "admin"].contains(&role), "{method} {path}: {role}");
            assert!(operation.get("security").is_none(), "no token is asked for here");
        }
    }
    for path in paths.iter().filter(|path| !path.contains('{')) {
        let answer = get(&admin, path);
        assert!([200, 405].contains(&answer.status), "{path} is described and not there");
    }
}

#[test]
fn an_ending_house_is_not_ready_lets_calls_end_and_obeys_a_second_signal() {
    let service = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = service.local_addr().expect("an address").port();
    let config = CONFIG.replace("127.0.0.1:1, weight: 3", &format!("127.0.0.1:{port}"));
    let (folder, mut house, admin, addresses) = start(&config);
    let gateway = addresses["listeners"][0].as_str().expect("a listener");
    let mut call = TcpStream::connect(gateway).expect("a connection");
    call.write_all(b"POST /a/b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").expect("a call");
    // The service has the call and never answers it.
    let (_held, _) = service.accept().expect("the call at the service");

    house.signal(Signal::SIGTERM);
    common::wait_for("it to be not ready", || (get(&admin, "/readyz").status == 503).then_some(()));
    assert_eq!(get(&admin, "/healthz").status, 200);
    house.signal(Signal::SIGTERM);
    assert_eq!(house.ends_with(), Some(1));
    assert!(!folder.path().join("data/addresses.json").exists());
}
