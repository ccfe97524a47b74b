//! `posthouse guard`, `apis`, `plans`, `consumers`, `keys`, `export` and `apply`, as their users run
//! them: the whole life of an API and of who calls it, on a running house.

use http::{Method, Response};
use http_body_util::Full;
use posthouse_tests::backend::{Backend, Seen};
use posthouse_tests::house::posthouse;
use posthouse_tests::{House, client};
use serde_json::{Value, json};

/// An OpenAPI document with these paths.
fn document(paths: &[&str]) -> String {
    let operation = "    get: { responses: { '200': { description: fine } } }\n";
    let paths: String = paths.iter().map(|path| format!("  {path}:\n{operation}")).collect();
    format!("openapi: 3.1.0\ninfo: {{ title: Orders, version: '1' }}\npaths:\n{paths}")
}

/// A house in which calls of `/open` are for everybody; a consumer and an API are declared by the file.
fn config(backend: &Backend) -> String {
    format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]
admin:
  address: 127.0.0.1:0
  tokens:
    - {{ name: ada, role: admin, token: {ADMIN} }}
    - {{ name: vera, role: viewer, token: {VIEWER} }}
identity: {{ providers: {{ keys: {{ api_key: {{}} }} }} }}
consumers: {{ ours: {{ roles: [house] }} }}
apis: {{ filed: {{ title: Filed }} }}
services: {{ orders: {{ instances: [ {{ address: {} }} ] }} }}
routes:
  - name: open
    match: {{ path: /open }}
    service: orders
  - name: known
    match: {{ path: /known }}
    service: orders
    guard: {{ identity: [keys], roles: [buyer] }}
    limits: [ {{ by: consumer, quota: 3/day }} ]
",
        backend.address()
    )
}

const ADMIN: &str = "admins-have-this-one";
const VIEWER: &str = "viewers-have-this-one";

struct Shop {
    house: House,
    _backend: Backend,
}

impl Shop {
    async fn open() -> Self {
        let path = |seen: &Seen| Response::new(Full::from(seen.uri.path().to_owned()));
        let backend = Backend::answering(path).await;
        Self { house: House::start(&config(&backend)).await, _backend: backend }
    }

    /// `posthouse ARGUMENTS` for this house: the exit code, standard output and error.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let admin = format!("http://{}", self.house.admin());
        // In `guard explain` a token is that of the call.
        let token = if arguments[0] == "guard" { "--admin-token" } else { "--token" };
        let more = ["--admin", &admin, token, ADMIN];
        let arguments: Vec<&str> = arguments.iter().copied().chain(more).collect();
        let (status, out, errors) = posthouse(self.house.folder(), &arguments).await;
        (status.code().unwrap_or(-1), out, errors)
    }

    /// The output of a run that ends well.
    async fn said(&self, arguments: &[&str]) -> String {
        let (code, out, errors) = self.run(arguments).await;
        assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let out = self.said(&[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    /// The output of one that does not, whose error says this.
    async fn failed(&self, arguments: &[&str], code: i32, part: &str) -> String {
        let (is, out, errors) = self.run(arguments).await;
        assert_eq!(is, code, "{arguments:?}: {out}{errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
        out
    }

    /// The secret of a key that is issued so.
    async fn secret(&self, arguments: &[&str]) -> String {
        let (code, out, errors) = self.run(arguments).await;
        assert_eq!(code, 0, "{errors}");
        assert!(errors.starts_with("This is the secret of key "), "{errors}");
        let secret = out.strip_suffix('\n').expect("a line");
        assert!(secret.starts_with("phk_") && !secret.contains('\n'), "{out}");
        secret.to_owned()
    }

    async fn call(&self, path: &str, key: &str) -> (u16, String) {
        let mut request = client::request(Method::GET, "shop.example", path, "");
        request.headers_mut().insert("x-api-key", key.parse().expect("a value"));
        let answer = client::send(self.house.gateway(), request).await.expect("an answer");
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.house.folder().join(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.house.folder().join(name)).expect("a file")
    }
}

#[tokio::test]
async fn who_may_call_is_explained_rule_by_rule() {
    let shop = Shop::open().await;
    let put = ["consumers", "put", "acme", "--role", "guest", "--metadata", "owner=ann"];
    let written = shop.said(&put).await;
    assert_eq!(written, "consumer acme is written down, revision 1\n");
    let key = shop.secret(&["keys", "issue", "acme", "--label", "till"]).await;
    let header = format!("x-api-key: {key}");

    let explain = ["guard", "explain", "GET", "/known"];
    let nobody = shop.failed(&explain, 1, "the call is refused: 401 by `identity`").await;
    assert!(nobody.contains("\nidentity  decides"), "{nobody}");
    let with_key = [&explain[..], &["--header", &header]].concat();
    let guest = shop.failed(&with_key, 1, "403 by `roles`").await;
    for part in
        ["consumer  acme\n", "key       acme/1\n", "identity  passes ", "roles     decides "]
    {
        assert!(guest.contains(part), "{part}: {guest}");
    }
    shop.said(&["consumers", "put", "acme", "--role", "buyer", "--revision", "2"]).await;
    let buyer = shop.said(&with_key).await;
    assert!(buyer.starts_with("GET /known: passes\n"), "{buyer}");
    for _ in 0..2 {
        let told = shop.json(&with_key).await;
        assert_eq!((&told["passes"], &told["route"]), (&json!(true), &json!("known")));
        assert_eq!(told["identity"]["roles"], json!(["buyer"]));
        let limit = &told["limits"][0];
        assert_eq!((&limit["key"], &limit["left"]), (&json!("consumer acme"), &json!(3)), "{told}");
        assert!(!told.to_string().contains(&key), "{told}");
    }
    for _ in 0..3 {
        assert_eq!(shop.call("/known", &key).await.0, 200);
    }
    shop.failed(&with_key, 1, "429 by the limit").await;
    assert_eq!(shop.call("/known", &key).await.0, 429);
    assert!(shop.said(&["guard", "explain", "GET", "/open"]).await.contains("no rule asks"));
    shop.failed(&["guard", "explain", "GET", "/nowhere"], 1, "404 by `route`").await;
    let wrong = ["guard", "explain", "GET", "/known", "--header", "nonsense"];
    shop.failed(&wrong, 2, "a header is like").await;
    let admin = ["guard", "explain", "GET", "/known", "--token", ADMIN];
    shop.failed(&admin, 1, "this is an admin token").await;

    // What was shown to be looked at is nowhere.
    let audit = shop.json(&["audit"]).await.to_string();
    let log = shop.house.log();
    assert!(!audit.contains(&key) && !log.contains(&key), "{audit}\n{log}");
}

#[tokio::test]
async fn a_call_is_explained_to_viewers_over_the_api() {
    let shop = Shop::open().await;
    let question = json!({
        "method": "GET", "url": "http://shop.example/known", "client": "192.0.2.7",
        "headers": { "x-api-key": "phk_nobody_has_this_one_nobody_has_this_one" },
    });
    let body = question.to_string();
    let mut request = client::request(Method::POST, "localhost", "/api/v1/guard/explain", body);
    let headers = request.headers_mut();
    headers.insert("content-type", "application/json".parse().expect("a value"));
    headers.insert("authorization", format!("Bearer {VIEWER}").parse().expect("a value"));
    let answer = client::send(shop.house.admin(), request).await.expect("an answer");
    let told: Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!((answer.status().as_u16(), &told["status"]), (200, &json!(401)), "{told}");
    assert_eq!((&told["passes"], &told["decides"]), (&json!(false), &json!("identity")));
    assert_eq!(shop.json(&["audit"]).await["entries"], json!([]), "looking is not entered");
}

#[tokio::test]
async fn keys_are_issued_rotated_and_revoked() {
    let shop = Shop::open().await;
    shop.said(&["consumers", "put", "acme", "--role", "buyer"]).await;
    let old = shop.secret(&["keys", "issue", "acme", "--expires", "2999-01-01T00:00:00Z"]).await;
    let rotate = ["keys", "rotate", "acme", "1", "--overlap", "1h"];
    let new = shop.secret(&rotate).await;
    assert_eq!(shop.call("/known", &old).await.0, 200);
    assert_eq!(shop.call("/known", &new).await.0, 200);
    let listed = shop.said(&["keys", "acme"]).await;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("NUMBER  ID      LABEL  ISSUED_AT"), "{listed}");
    assert_eq!(lines.len(), 3, "{listed}");
    assert_eq!(shop.said(&["keys", "revoke", "acme", "1"]).await, "key acme/1 is revoked\n");
    assert_eq!(shop.call("/known", &old).await.0, 401);
    assert_eq!(shop.json(&["keys", "acme"]).await["keys"][0]["number"], 2);
    shop.failed(&["keys", "revoke", "acme", "1"], 1, "has no key 1").await;
    shop.failed(&["keys", "issue", "nobody"], 1, "there is no consumer").await;
    let history = shop.said(&["consumers", "history", "acme"]).await;
    for part in ["created", "key 1 issued", "key 1 replaced by 2", "key 1 revoked"] {
        assert!(history.contains(part), "{part}: {history}");
    }
    shop.said(&["consumers", "delete", "acme"]).await;
    assert_eq!(shop.call("/known", &new).await.0, 401);
    let list = shop.said(&["consumers"]).await;
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("ours  -     house  0     file"), "{list}");
    shop.failed(&["consumers", "put", "ours"], 1, "declared by the configuration").await;
    shop.failed(&["keys"], 2, "name a consumer").await;
}

#[tokio::test]
async fn an_api_lives_from_its_import_until_it_is_gone() {
    let shop = Shop::open().await;
    shop.write("v1.yaml", &document(&["/orders", "/orders/7"]));
    shop.write("v2.yaml", &document(&["/orders"]));
    let import = ["apis", "import", "shop@v1", "v1.yaml", "--service", "orders", "--path", "/v1"];
    let asked = shop.said(&[&import[..], &["--dry-run"]].concat()).await;
    assert!(asked.ends_with("nothing was changed: this was a dry run\n"), "{asked}");
    assert!(shop.said(&["apis"]).await.starts_with("API    VERSION"));
    let said = shop.said(&[&import[..], &["--note", "the first & only"]].concat()).await;
    assert_eq!(said, "+ api shop created\n+ version shop@v1 created\n");
    assert_eq!(shop.call("/v1/orders", "").await.0, 404, "a draft takes no calls");
    let said = shop.said(&["apis", "publish", "shop@v1"]).await;
    assert!(said.contains("/state: \"draft\" -> \"published\""), "{said}");
    assert_eq!(shop.call("/v1/orders/7", "").await, (200, "/v1/orders/7".into()));
    assert_eq!(shop.said(&["apis", "document", "shop@v1"]).await, shop.read("v1.yaml"));

    // What a new document would break.
    let diff = shop.failed(&["api", "diff", "shop@v1", "v2.yaml"], 1, "1 change may break").await;
    assert!(diff.starts_with("breaking [path-removed] GET /orders/7: "), "{diff}");
    let diff = shop.said(&["api", "diff", "v2.yaml", "shop@v1"]).await;
    assert!(diff.starts_with("compatible [path-added] GET /orders/7: "), "{diff}");
    let same = shop.json(&["apis", "diff", "v1.yaml", "v1.yaml"]).await;
    assert_eq!(same, json!({ "breaking": 0, "compatible": 0, "changes": [] }));
    shop.write("none.yaml", "openapi: 3.1.0\n");
    shop.failed(&["apis", "diff", "none.yaml", "v1.yaml"], 2, "none.yaml: ").await;
    shop.failed(&["apis", "diff", "absent.yaml", "v1.yaml"], 2, "absent.yaml cannot be read").await;
    shop.failed(&["apis", "diff", "shop@v9", "v1.yaml"], 1, "has no document").await;

    let import = ["apis", "import", "shop@v1", "v2.yaml", "--note", "less"];
    let said = shop.said(&import).await;
    assert!(said.contains("    breaking [path-removed] GET /orders/7: "), "{said}");
    assert_eq!(shop.call("/v1/orders/7", "").await.0, 404);
    let history = shop.said(&["apis", "history", "shop@v1"]).await;
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 4, "{history}");
    assert!(lines[1].ends_with("less") && lines[3].ends_with("the first & only"), "{history}");
    let compared = shop.said(&["apis", "compare", "shop@v1", "--from", "2", "--to", "3"]).await;
    assert!(compared.contains("/openapi: ") && compared.contains("breaking ["), "{compared}");
    shop.said(&["apis", "rollback", "shop@v1", "--to", "2"]).await;
    assert_eq!(shop.call("/v1/orders/7", "").await.0, 200);

    shop.failed(&["apis", "retire", "shop@v1"], 1, "deprecate it first").await;
    let import = ["apis", "import", "shop@v2", "v2.yaml", "--service", "orders", "--path", "/v2"];
    shop.said(&import).await;
    shop.said(&["apis", "publish", "shop@v2"]).await;
    let sunset = ["--sunset", "2999-01-01", "--successor", "v2"];
    shop.said(&[&["apis", "deprecate", "shop@v1"][..], &sunset].concat()).await;
    let list = shop.said(&["apis"]).await;
    assert!(list.contains("shop   v1       deprecated  2999-01-01T00:00:00.000Z  v2"), "{list}");
    shop.said(&["apis", "retire", "shop@v1"]).await;
    let (status, body) = shop.call("/v1/orders/7", "").await;
    assert_eq!(status, 410, "{body}");
    assert!(body.contains("shop@v2"), "{body}");
    let gone = ["guard", "explain", "GET", "/v1/orders/7"];
    shop.failed(&gone, 1, "the gateway itself answers with 410").await;
    shop.failed(&["apis", "delete", "shop"], 1, "has versions").await;
    shop.said(&["apis", "delete", "shop@v1"]).await;
    shop.failed(&["apis", "show", "shop@v1"], 1, "there is no version `shop@v1`").await;
    let shown = shop.said(&["apis", "show", "shop@v2"]).await;
    assert!(
        shown.contains("kind       version\n") && shown.contains("\nservice: orders\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn nobody_is_on_a_plan_that_is_not_there() {
    let shop = Shop::open().await;
    shop.failed(&["consumers", "put", "acme", "--plan", "gold"], 1, "no plan `gold`").await;
    shop.failed(&["consumers", "show", "acme"], 1, "there is no consumer").await;
    let consumers = json!({ "consumers": { "acme": { "plan": "gold" } } });
    shop.write("consumers.json", &consumers.to_string());
    shop.failed(&["apply", "consumers.json"], 1, "no plan `gold`").await;

    let mut both = consumers;
    both["plans"] = json!({ "gold": { "limits": [ { "by": "consumer", "rate": "100/s" } ] } });
    shop.write("both.json", &both.to_string());
    shop.said(&["apply", "both.json"]).await;
    shop.failed(&["plans", "delete", "gold"], 1, "the consumer acme is on the plan gold").await;
    shop.failed(&["apply", "consumers.json", "--prune"], 1, "no plan `gold`").await;
    shop.said(&["consumers", "put", "acme"]).await;
    shop.said(&["plans", "delete", "gold"]).await;
    shop.failed(&["plans", "show", "gold"], 1, "there is no plan `gold`").await;
}

#[tokio::test]
async fn what_is_exported_is_applied_without_a_difference() {
    let shop = Shop::open().await;
    let text = document(&["/orders"]) + "# ${env:NONE} and ${file:none}\n\n";
    shop.write("v1.yaml", &text);
    shop.write("plan.yaml", "title: Gold\nlimits: [ { by: consumer, rate: 100/s } ]\n");
    shop.said(&["plans", "put", "gold", "plan.yaml", "--note", "asked for"]).await;
    assert!(shop.said(&["plans", "show", "gold"]).await.contains("rate: \"100/s\""));
    let import = ["apis", "import", "shop@v1", "v1.yaml", "--service", "orders", "--path", "/v1"];
    shop.said(&import).await;
    shop.said(&["apis", "publish", "shop@v1"]).await;
    shop.said(&["apis", "deprecate", "shop@v1", "--documentation", "https://shop.example/v1"])
        .await;
    let put = ["consumers", "put", "acme", "--plan", "gold", "--role", "buyer"];
    shop.said(&[&put[..], &["--metadata", "note=a: ${b}", "--certificate", "CN=till"]].concat())
        .await;
    let key = shop.secret(&["keys", "issue", "acme", "--label", "till"]).await;

    assert_eq!(shop.said(&["export", "--output-file", "all.yaml"]).await, "");
    let exported = shop.read("all.yaml");
    assert!(!exported.contains(&key) && !exported.contains("ours"), "{exported}");
    shop.write("all.json", &shop.said(&["export", "-o", "json"]).await);
    for file in ["all.yaml", "all.json"] {
        for more in [&["--dry-run"][..], &["--dry-run", "--prune"], &["--prune"], &[]] {
            let said = shop.said(&[&["apply", file][..], more].concat()).await;
            assert_eq!(said, "nothing differs\n", "{file} {more:?}: {exported}");
        }
    }
    let revision = |entry: &Value| entry["revision"].clone();
    assert_eq!(revision(&shop.json(&["apis", "show", "shop@v1"]).await), 3, "nothing was changed");

    // A change, an addition and what the file declares.
    let mut wanted: Value = serde_json::from_str(&shop.read("all.json")).expect("JSON");
    wanted["plans"]["gold"]["title"] = json!("Golden");
    wanted["consumers"]["acme"]["roles"] = json!(["buyer", "partner"]);
    wanted["consumers"]["new"] = json!({});
    wanted["consumers"]["ours"] = json!({ "roles": ["other"] });
    wanted["apis"]["filed"] = json!({ "title": "Other", "versions": { "v1": {} } });
    shop.write("next.json", &wanted.to_string());
    let told = "\
~ plan gold changed
    /title: \"Gold\" -> \"Golden\"
~ consumer acme changed
    /roles/1: \"partner\" is new
+ consumer new created
= api filed is declared in the configuration file, and stays so
= version filed@v1 is declared in the configuration file, and stays so
= consumer ours is declared in the configuration file, and stays so
";
    let asked = shop.said(&["apply", "next.json", "--dry-run"]).await;
    assert_eq!(asked, format!("{told}nothing was changed: this was a dry run\n"));
    assert_eq!(shop.said(&["apply", "next.json", "--note", "as agreed"]).await, told);
    assert_eq!(
        shop.json(&["consumers", "show", "acme"]).await["roles"],
        json!(["buyer", "partner"])
    );
    assert_eq!(shop.call("/known", &key).await.0, 200, "keys stay");
    let audit = shop.said(&["audit", "--limit", "1"]).await;
    assert!(
        audit.contains("plan gold changed, consumer acme changed, consumer new created"),
        "{audit}"
    );

    // Back again, and away with what was added since.
    let said = shop.said(&["apply", "all.yaml", "--prune"]).await;
    assert!(said.contains("- consumer new removed\n"), "{said}");
    let said = shop.said(&["apply", "all.yaml", "--prune"]).await;
    assert_eq!(said, "nothing differs\n");

    nothing_happens_when_something_is_wrong(&shop, wanted).await;
}

async fn nothing_happens_when_something_is_wrong(shop: &Shop, mut wanted: Value) {
    wanted["consumers"]["acme"]["certificates"] = json!(["no name"]);
    wanted["consumers"].as_object_mut().expect("consumers").remove("ours");
    shop.write("wrong.json", &wanted.to_string());
    shop.failed(&["apply", "wrong.json"], 1, "of the consumer `acme`").await;
    let plan = shop.json(&["plans", "show", "gold"]).await;
    assert_eq!(plan["spec"]["title"], "Gold");
    shop.write("empty.yaml", "plans: {}\n");
    shop.failed(&["apply", "empty.yaml", "--prune"], 1, "takes calls").await;
    assert_eq!(shop.said(&["apply", "all.yaml", "--dry-run"]).await, "nothing differs\n");
    // A whole configuration would bring secrets along: it is not sent.
    shop.failed(&["apply", "posthouse.yaml"], 2, "only `apis`, `plans`, `consumers`").await;
    shop.write("broken.yaml", "plans: [\n");
    shop.failed(&["apply", "broken.yaml"], 2, "broken.yaml has 1 error").await;
}
