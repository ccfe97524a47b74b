//! Tokens that others made: by `joserfc` in Python for every algorithm, and by `oidc-provider` in Node,
//! an issuer whose keys change while calls go on. What Posthouse signs itself, `joserfc` verifies.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use posthouse_tests::backend::Backend;
use posthouse_tests::client::Connection;
use posthouse_tests::house::new_folder;
use posthouse_tests::program::{Program, output_of};
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, client, environment, eventually, free_port, python, workspace};
use serde_json::Value;

/// The issuer of the tokens that are made here.
const ISSUER: &str = "https://idp.example";

/// What is refused, whatever the signature.
const BAD: [&str; 4] = ["expired", "early", "elsewhere", "stranger"];

fn tokens(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = python::script(&workspace().join("tests/python/tokens.py"), folder, folder);
    command.args(arguments).env("PYTHONWARNINGS", "ignore");
    command
}

async fn ask(gateway: SocketAddr, path: &str, token: &str) -> Response<Bytes> {
    let mut request = client::request(Method::GET, "shop.example", path, Bytes::new());
    let shown = format!("Bearer {token}").parse().expect("a token is text");
    request.headers_mut().insert(AUTHORIZATION, shown);
    client::send(gateway, request).await.expect("an answer")
}

#[tokio::test]
async fn tokens_of_every_algorithm_by_joserfc_are_taken_and_bad_ones_are_not() {
    let folder = new_folder();
    let place = folder.path().display().to_string();
    let made = output_of(tokens(folder.path(), &["make", &place, ISSUER, "shop"])).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let backend = Backend::named("users").await;
    let house = House::start_in(folder, &config_of_file(backend.address()), &[]).await;
    let mut taken = 0;
    for (algorithm, tokens) in made.as_object().expect("an object") {
        let token = |kind: &str| tokens[kind].as_str().expect("a token").to_owned();
        // There is no P-521 in our provider of cryptography, and no signature is no token.
        let ours = !["ES512", "none"].contains(&algorithm.as_str());
        let answer = ask(house.gateway(), "/users", &token("good")).await;
        let wanted = if ours { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status(), wanted, "{algorithm}");
        taken += usize::from(ours);
        for kind in BAD {
            let answer = ask(house.gateway(), "/users", &token(kind)).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{algorithm} {kind}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        }
    }
    let seen = backend.seen();
    assert_eq!((seen.len(), taken), (13, 13), "only good tokens reach the service");
    assert!(seen.iter().all(|seen| seen.header("x-user") == "alice"));
    assert!(seen.iter().all(|seen| seen.header("x-roles") == "buyer"));
}

fn config_of_file(backend: SocketAddr) -> String {
    format!(
        "
listeners: [ {{ address: 127.0.0.1:0 }} ]
services:
  users: {{ instances: [ {{ address: \"{backend}\" }} ] }}
identity:
  providers:
    shop:
      jwt:
        issuer: {ISSUER}
        audience: [ shop ]
        keys: keys.json
        roles: realm_access.roles
        algorithms: [ RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256, HS384, HS512 ]
routes:
  - match: {{ path: /users }}
    service: users
    guard:
      identity: [ shop ]
      scopes: [ users.read ]
      forward: {{ headers: {{ x-user: subject, x-roles: roles }} }}
"
    )
}

/// `oidc-provider`, running.
struct Issuer {
    address: SocketAddr,
    _program: Program,
}

impl Issuer {
    async fn start(folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("node");
        command
            .arg(workspace().join("tests/node/issuer.mjs"))
            .current_dir(folder)
            .env("MODULES", environment("POSTHOUSE_TEST_NODE", "test-node").join("node_modules"))
            .env("PORT", port.to_string());
        let mut program = Program::start("issuer", command, folder);
        program.says("the issuer listens").await;
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), _program: program }
    }

    /// A token for the client: signed for a resource, or opaque.
    async fn token(&self, signed: bool) -> String {
        let resource = if signed { "&resource=urn:shop" } else { "" };
        let form = format!("grant_type=client_credentials&scope=users.read{resource}");
        let answer = self.post("/token", form).await;
        let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Makes a new key, which signs from now on, and keeps so many of the others.
    async fn rotate(&self, keep: usize) {
        let answer = self.post(&format!("/rotate?keep={keep}"), String::new()).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }

    async fn post(&self, path: &str, form: String) -> Response<Bytes> {
        let client = STANDARD.encode("acme:secret-of-acme");
        let request = Request::post(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Basic {client}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .expect("a request");
        client::send(self.address, request).await.expect("an answer of the issuer")
    }
}

fn config_of_issuer(backend: SocketAddr, issuer: SocketAddr) -> String {
    format!(
        "
listeners: [ {{ address: 127.0.0.1:0 }} ]
services:
  users: {{ instances: [ {{ address: \"{backend}\" }} ] }}
identity:
  providers:
    signed:
      jwt: {{ issuer: \"http://{issuer}\", audience: [ shop ], consumer: client_id, refetch: 1s }}
    opaque:
      introspection:
        url: http://{issuer}/token/introspection
        client_id: acme
        client_secret: secret-of-acme
        cache: 1s
consumers:
  acme: {{ roles: [ buyer ] }}
routes:
  - match: {{ path: /signed }}
    service: users
    guard:
      identity: [ signed ]
      scopes: [ users.read ]
      consumers: [ acme ]
      forward: {{ headers: {{ x-user: subject }} }}
  - match: {{ path: /opaque }}
    service: users
    guard: {{ identity: [ opaque ], scopes: [ users.read ], forward: {{ headers: {{ x-user: subject }} }} }}
"
    )
}

#[tokio::test]
async fn keys_of_an_openid_provider_rotate_under_load_and_no_good_token_is_refused() {
    let folder = new_folder();
    let issuer = Arc::new(Issuer::start(folder.path()).await);
    let backend = Backend::named("users").await;
    let config = config_of_issuer(backend.address(), issuer.address);
    let house = House::start_in(folder, &config, &[]).await;
    let gateway = house.gateway();
    let first = issuer.token(true).await;
    assert_eq!(ask(gateway, "/signed", &first).await.status(), StatusCode::OK);

    let (ended, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (issuer, ended, calls) =
                (Arc::clone(&issuer), Arc::clone(&ended), Arc::clone(&calls));
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    let token = issuer.token(true).await;
                    call_with(gateway, &token, &calls).await;
                }
            })
        })
        .collect();
    for _ in 0..3 {
        // The key that signed before stays, as issuers do it.
        let before = calls.load(Ordering::Relaxed);
        issuer.rotate(1).await;
        eventually("calls after the keys have changed", || async {
            let now = calls.load(Ordering::Relaxed);
            ensure(now > before + 200, || format!("{now} calls"))
        })
        .await;
    }
    ended.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("every call with a good token passed");
    }
    // The first key left the set two rotations ago, and what it signed went with it.
    assert_eq!(ask(gateway, "/signed", &first).await.status(), StatusCode::UNAUTHORIZED);
    assert!(backend.seen().iter().all(|seen| seen.header("x-user") == "acme"));
}

/// Calls the gateway with a good token, several times over one connection.
async fn call_with(gateway: SocketAddr, token: &str, calls: &AtomicUsize) {
    let mut connection = Connection::open(gateway).await.expect("a connection");
    for _ in 0..10 {
        let mut request = client::request(Method::GET, "shop.example", "/signed", Bytes::new());
        let shown = format!("Bearer {token}").parse().expect("a token is text");
        request.headers_mut().insert(AUTHORIZATION, shown);
        let answer = connection.send(request).await.expect("an answer");
        let said = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(answer.status(), StatusCode::OK, "{said}");
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_openid_provider_is_asked_about_opaque_tokens() {
    let folder = new_folder();
    let issuer = Issuer::start(folder.path()).await;
    let backend = Backend::named("users").await;
    let config = config_of_issuer(backend.address(), issuer.address);
    let house = House::start_in(folder, &config, &[]).await;
    let token = issuer.token(false).await;
    assert_eq!(ask(house.gateway(), "/opaque", &token).await.status(), StatusCode::OK);
    assert_eq!(backend.seen()[0].header("x-user"), "acme");
    let wrong = ask(house.gateway(), "/opaque", "no-token-of-theirs").await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let revoked = issuer.post("/token/revocation", format!("token={token}")).await;
    assert_eq!(revoked.status(), StatusCode::OK);
    eventually("the token to be forgotten", || async {
        let status = ask(house.gateway(), "/opaque", &token).await.status();
        ensure(status == StatusCode::UNAUTHORIZED, || status.to_string())
    })
    .await;
}

/// Who calls is told to the service by a token, which `joserfc` verifies by the keys that are handed out.
#[tokio::test]
async fn tokens_for_services_are_verified_by_joserfc() {
    let folder = new_folder();
    let backend = Backend::named("orders").await;
    let config = format!(
        "
listeners: [ {{ address: 127.0.0.1:0 }} ]
admin: {{ address: 127.0.0.1:0 }}
services:
  orders: {{ instances: [ {{ address: \"{}\" }} ] }}
identity:
  providers: {{ keys: {{ api_key: {{}} }} }}
  mint: {{ issuer: gateway }}
consumers: {{ acme: {{ keys: [ {{ secret: a-key-of-acme-itself }} ] }} }}
routes:
  - match: {{ path: /orders }}
    service: orders
    guard: {{ identity: [ keys ], forward: {{ jwt: {{ header: x-caller, audience: orders }} }} }}
",
        backend.address()
    );
    let house = House::start_in(folder, &config, &[]).await;
    let mut request = client::request(Method::GET, "shop.example", "/orders", Bytes::new());
    request.headers_mut().insert("x-api-key", "a-key-of-acme-itself".parse().expect("a value"));
    let answer = client::send(house.gateway(), request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let token = backend.seen()[0].header("x-caller").to_owned();

    let keys = client::get(house.admin(), "localhost", "/.well-known/jwks.json").await;
    let keys = keys.expect("an answer");
    assert_eq!(keys.headers()[CONTENT_TYPE], "application/jwk-set+json");
    let keys = String::from_utf8(keys.body().to_vec()).expect("text");
    let claims = output_of(tokens(house.folder(), &["verify", &keys, &token, "orders"])).await;
    let claims: Value = serde_json::from_str(&claims).expect("JSON");
    assert_eq!((&claims["iss"], &claims["consumer"]), (&"gateway".into(), &"acme".into()));

    let key: Value = serde_json::from_str(&keys).expect("JSON");
    assert!(key["keys"][0]["kid"].is_string() && key["keys"][0].get("d").is_none(), "{key}");
}
