//! gRPC between a client and a server that nobody here wrote (Python's `grpcio`), with the
//! gateway between them: all four kinds, statuses, trailers, deadlines.

use std::net::SocketAddr;
use std::path::PathBuf;

use posthouse_tests::house::new_folder;
use posthouse_tests::program::{Program, output_of};
use posthouse_tests::{House, free_port, python, workspace};
use tempfile::TempDir;

/// The server of `echo.proto`, with the modules generated for it.
struct Echo {
    address: SocketAddr,
    modules: TempDir,
    _server: Program,
}

impl Echo {
    async fn start() -> Self {
        let modules = new_folder();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        python::generate_stubs(&programs().join("echo.proto"), modules.path()).await;
        let mut command =
            python::script(&programs().join("echo_server.py"), modules.path(), modules.path());
        command.arg(address.port().to_string());
        let mut server = Program::start("echo-server", command, modules.path());
        server.says("serving").await;
        Self { address, modules, _server: server }
    }

    /// Makes the calls of one kind; the script asserts.
    async fn call(&self, through: SocketAddr, kind: &str) {
        let modules = self.modules.path();
        let mut command = python::script(&programs().join("echo_calls.py"), modules, modules);
        command.arg(through.to_string()).arg(kind);
        assert_eq!(output_of(command).await.trim(), "ok");
    }
}

fn programs() -> PathBuf {
    workspace().join("tests/python")
}

/// One kind of call through a gateway with a route for the service.
async fn check(kind: &str) {
    let echo = Echo::start().await;
    let house = House::start(&format!(
        "
listeners: [ {{ address: 127.0.0.1:0 }} ]
services:
  echo: {{ protocol: grpc, instances: [ {{ address: {} }} ] }}
routes:
  - match: {{ path: \"/interop.Echo/{{*method}}\" }}
    service: echo
",
        echo.address
    ))
    .await;
    echo.call(house.gateway(), kind).await;
}

#[tokio::test]
async fn unary_calls_keep_metadata_trailers_and_deadline() {
    check("unary").await;
}

#[tokio::test]
async fn large_messages_pass_whole() {
    check("large").await;
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    check("many_at_once").await;
}

#[tokio::test]
async fn client_streaming_calls_pass() {
    check("client_streaming").await;
}

#[tokio::test]
async fn server_streaming_calls_pass() {
    check("server_streaming").await;
}

#[tokio::test]
async fn bidirectional_calls_are_not_held_back() {
    check("bidirectional").await;
}

#[tokio::test]
async fn every_status_keeps_its_details_and_trailers() {
    check("statuses").await;
}

#[tokio::test]
async fn an_unknown_method_is_the_server_s_to_refuse() {
    check("unknown_method").await;
}

#[tokio::test]
async fn a_passed_deadline_reaches_client_and_server() {
    check("deadline").await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_upstream() {
    check("cancellation").await;
}
