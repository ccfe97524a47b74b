//! The programs of `examples/node`, beside those of `examples/python`.

use std::path::PathBuf;
use std::process::Command;

use posthouse_tests::program::{Program, output_of, run_to_end};
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, client, environment, eventually, free_port, python, workspace};

fn program(house: &House, script: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(workspace().join("examples/node").join(script))
        .current_dir(house.folder())
        .env("NODE_PATH", environment("POSTHOUSE_NODE", "node").join("node_modules"))
        .env("REGISTRY", format!("http://{}", house.registry()))
        .env("GATEWAY", format!("http://{}", house.gateway()));
    command
}

fn python_examples() -> PathBuf {
    workspace().join("examples/python")
}

#[tokio::test]
async fn a_service_in_node_is_found_by_name_and_leaves() {
    let house = House::start(
        "
listeners: [ { address: 127.0.0.1:0, names: true } ]
registry: { address: 127.0.0.1:0 }
",
    )
    .await;
    let mut command = program(&house, "greet_service.js");
    command.env("PORT", free_port().to_string());
    let mut service = Program::start("greet-service", command, house.folder());
    let instances = async || {
        let path = "/v1/health/service/greet-service?passing";
        let found = client::get_json(house.registry(), path).await;
        found.map(|found| found.as_array().map_or(0, Vec::len)).map_err(|error| error.to_string())
    };
    eventually("the service to be passing", || async {
        let count = instances().await?;
        ensure(count == 1, || format!("{count} instances"))
    })
    .await;

    let said = eventually("the gateway to know it", || async {
        let mut call = program(&house, "client.js");
        call.arg("Alice");
        let (status, said, _) = run_to_end(call).await;
        ensure(status.success(), || said.clone()).map(|()| said)
    })
    .await;
    assert_eq!(said, "Hello, Alice!\n");

    assert!(service.stop().await.success());
    assert_eq!(instances().await, Ok(0));
}

#[tokio::test]
async fn a_client_in_node_calls_a_grpc_server_in_python() {
    let port = free_port();
    let house = House::start(&format!(
        "
listeners: [ {{ address: 127.0.0.1:0 }} ]
registry: {{ address: 127.0.0.1:0 }}
services:
  users-grpc: {{ protocol: grpc, instances: [ {{ address: 127.0.0.1:{port} }} ] }}
routes:
  - match: {{ path: \"/UserService/{{*method}}\" }}
    service: users-grpc
"
    ))
    .await;
    python::generate_stubs(&python_examples().join("user.proto"), house.folder()).await;
    let server = python_examples().join("grpc_server.py");
    let mut command = python::script(&server, house.folder(), house.folder());
    command.env("PORT", port.to_string());
    let mut server = Program::start("grpc-server", command, house.folder());
    server.says("serving gRPC").await;

    assert_eq!(output_of(program(&house, "grpc_client.js")).await, "1 Alice alice@example.com\n");
    let mut unknown = program(&house, "grpc_client.js");
    unknown.arg("7");
    let (status, said, _) = run_to_end(unknown).await;
    assert_eq!((status.code(), said.as_str()), (Some(1), "NOT_FOUND: there is no user 7\n"));
}
