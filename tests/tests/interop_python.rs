//! The programs of `examples/python`, started as their README says and called through the
//! gateway of the configuration that lies beside them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use http::{Method, StatusCode};
use nix::sys::signal::Signal;
use posthouse_tests::program::{Program, output_of, run_to_end};
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, client, eventually, free_port, python, workspace};
use serde_json::{Value, json};

fn examples() -> PathBuf {
    workspace().join("examples/python")
}

/// Posthouse with the examples' own configuration, moved to free ports.
async fn start_house(grpc: u16) -> House {
    let config = std::fs::read_to_string(examples().join("posthouse.yaml"));
    let config = config
        .expect("the examples' configuration")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:8400", "127.0.0.1:0")
        .replace("127.0.0.1:8500", "127.0.0.1:0")
        .replace("127.0.0.1:50051", &format!("127.0.0.1:{grpc}"));
    House::start(&config).await
}

/// One of the programs, with Posthouse's addresses in its environment.
fn program(house: &House, script: &str) -> Command {
    with_addresses(house, python::script(&examples().join(script), house.folder(), house.folder()))
}

fn with_addresses(house: &House, mut command: Command) -> Command {
    command
        .env("REGISTRY", format!("http://{}", house.registry()))
        .env("GATEWAY", format!("http://{}", house.gateway()))
        .env("DATABASE", house.folder().join("users.db"));
    command
}

/// Starts one of the two Flask services and waits until the gateway reaches it.
async fn start_service(house: &House, script: &str, name: &str, port: u16) -> Program {
    let mut command = program(house, script);
    command.env("PORT", port.to_string());
    let running = Program::start(&format!("{name}-{port}"), command, house.folder());
    let id = format!("{name}-{port}");
    eventually(&format!("{id} to be passing"), || async {
        let ids = passing(house.registry(), name).await?;
        ensure(ids.contains(&id), || format!("passing: {ids:?}"))
    })
    .await;
    running
}

/// The ids of a service's healthy instances.
async fn passing(registry: SocketAddr, name: &str) -> Result<Vec<String>, String> {
    let path = format!("/v1/health/service/{name}?passing");
    let found = client::get_json(registry, &path).await.map_err(|error| error.to_string())?;
    let entries = found.as_array().into_iter().flatten();
    Ok(entries.filter_map(|entry| entry["Service"]["ID"].as_str()).map(str::to_owned).collect())
}

async fn get(house: &House, path: &str) -> (StatusCode, Value) {
    let answer = client::get(house.gateway(), "shop.example", path).await.expect("an answer");
    let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    (answer.status(), body)
}

#[tokio::test]
async fn users_are_posted_read_back_and_kept_over_a_restart() {
    let house = start_house(free_port()).await;
    let port = free_port();
    let mut users = start_service(&house, "user_service.py", "user-service", port).await;
    let _greeter = start_service(&house, "greet_service.py", "greet-service", free_port()).await;

    let said = output_of(program(&house, "client.py")).await;
    assert!(said.contains("posted: {'email': 'alice@example.com', 'id': 1,"), "{said}");
    assert!(said.ends_with("Hello, Alice!\n"), "{said}");

    let alice = json!({ "id": 1, "name": "Alice", "email": "alice@example.com" });
    assert_eq!(get(&house, "/user/1").await, (StatusCode::OK, alice.clone()));
    assert_eq!(get(&house, "/api/v1/users").await, (StatusCode::OK, json!([alice])));
    assert_eq!(get(&house, "/user/2").await.0, StatusCode::NOT_FOUND);
    let bad = client::request(Method::POST, "shop.example", "/api/v1/users", "no json");
    let refused = client::send(house.gateway(), bad).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);

    users.stop().await;
    assert_eq!(passing(house.registry(), "user-service").await, Ok(Vec::new()));
    let _again = start_service(&house, "user_service.py", "user-service", port).await;
    eventually("the user to be there again", || async {
        let (status, found) = get(&house, "/user/1").await;
        ensure(found == alice, || format!("{status}: {found}"))
    })
    .await;
}

#[tokio::test]
async fn the_greeting_has_a_default_and_leaves_with_its_service() {
    let house = start_house(free_port()).await;
    let mut greeter = start_service(&house, "greet_service.py", "greet-service", free_port()).await;
    eventually("the greeting", || async {
        let answer = get(&house, "/api/greet").await;
        ensure(answer.1 == json!({ "message": "Hello, World!" }), || format!("{answer:?}"))
    })
    .await;
    assert_eq!(get(&house, "/api/greet?name=Alice").await.1["message"], "Hello, Alice!");

    // Ctrl-C takes it out too.
    greeter.signal(Signal::SIGINT);
    greeter.wait().await;
    assert_eq!(passing(house.registry(), "greet-service").await, Ok(Vec::new()));
    eventually("the gateway to know", || async {
        let answer = get(&house, "/api/greet").await;
        ensure(answer.0 == StatusCode::SERVICE_UNAVAILABLE, || format!("{answer:?}"))
    })
    .await;
}

#[tokio::test]
async fn grpc_calls_reach_the_server_through_the_gateway() {
    let port = free_port();
    let house = start_house(port).await;
    python::generate_stubs(&examples().join("user.proto"), house.folder()).await;
    let mut command = program(&house, "grpc_server.py");
    command.env("PORT", port.to_string());
    let mut server = Program::start("grpc-server", command, house.folder());
    server.says("serving gRPC").await;

    assert_eq!(output_of(program(&house, "grpc_client.py")).await, "1 Alice alice@example.com\n");
    let mut unknown = program(&house, "grpc_client.py");
    unknown.arg("7");
    let (status, said, _) = run_to_end(unknown).await;
    assert_eq!((status.code(), said.as_str()), (Some(1), "NOT_FOUND: there is no user 7\n"));
}

#[tokio::test]
async fn three_short_functions_register_forward_and_distribute() {
    let house = start_house(free_port()).await;
    let (one, two) = (free_port(), free_port());
    let _one = start_service(&house, "greet_service.py", "greet-service", one).await;
    let _two = start_service(&house, "greet_service.py", "greet-service", two).await;
    let script = house.folder().join("use_calls.py");
    let text = format!(
        "
import calls, requests

message = {{'message': 'Hello, Ann!'}}
# A name without a route: the gateway knows it from the registry.
assert calls.forward_request('greet-service', '/api/greet?name=Ann').json() == message
answers = [calls.distribute_request('greet-service', '/api/greet?name=Ann') for _ in range(4)]
assert all(answer.json() == message for answer in answers)
ports = {{int(answer.url.split(':')[2].split('/')[0]) for answer in answers}}
assert ports == {{{one}, {two}}}, ports

known = calls.register_service('mine', {one})
assert requests.get(calls.REGISTRY + '/v1/agent/service/' + known).json()['Service'] == 'mine'
calls.deregister_service(known)
try:
    calls.distribute_request('mine', '/')
    raise AssertionError('a service that is gone was called')
except LookupError:
    print('ok')
"
    );
    std::fs::write(&script, text).expect("a script");
    let command = with_addresses(&house, python::script(&script, house.folder(), &examples()));
    assert_eq!(output_of(command).await, "ok\n");
}
