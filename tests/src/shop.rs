//! The sample shop as the demo runs it: instances in processes of their own, which register
//! themselves and are called through the gateway.

use std::collections::BTreeSet;

use crate::client;
use crate::house::{House, command_in};
use crate::program::Program;
use crate::wait::{ensure, eventually};

/// A house with the shop's routes.
pub const CONFIG: &str = "
listeners: [ { address: 127.0.0.1:0, names: true } ]
registry: { address: 127.0.0.1:0 }
routes:
  - match: { path: \"/shop.v1.UserService/{*method}\" }
    service: users-grpc
  - match: { path: \"/api/v1/users/{*rest}\" }
    service: users
  - match: { path: /api/v1/users }
    service: users
  - match: { path: /api/v1/orders }
    service: orders
";

/// Starts an instance and waits until the registry has it as healthy.
pub async fn start(house: &House, service: &str, instance: &str) -> Program {
    let mut command = command_in(house.folder());
    command.args(["demo-service", service, "--instance", instance, "--address", "127.0.0.1:0"]);
    command.args(["--database", &format!("{service}.db")]);
    command.args(["--registry", &house.registry().to_string()]);
    command.args(["--gateway", &house.gateway().to_string()]);
    let running = Program::start(instance, command, house.folder());
    eventually(&format!("{instance} to be passing"), || async {
        let ids = passing(house, service).await?;
        ensure(ids.contains(instance), || format!("passing: {ids:?}"))
    })
    .await;
    running
}

/// The ids of a service's healthy instances.
///
/// # Errors
/// When the registry does not answer.
pub async fn passing(house: &House, service: &str) -> Result<BTreeSet<String>, String> {
    let path = format!("/v1/health/service/{service}?passing");
    let found = client::get_json(house.registry(), &path).await;
    let found = found.map_err(|error| error.to_string())?;
    let entries = found.as_array().into_iter().flatten();
    Ok(entries.filter_map(|entry| entry["Service"]["ID"].as_str()).map(str::to_owned).collect())
}

/// Calls `GET path` until the answers have come from exactly these instances.
pub async fn answered_by(house: &House, path: &str, expected: &[&str]) {
    eventually(&format!("{path} to be answered by {expected:?}"), || async {
        let mut seen = BTreeSet::new();
        for _ in 0..8 {
            let answer = client::get(house.gateway(), "shop.example", path).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let instance = answer.headers().get("x-shop-instance");
            let instance = instance.map_or(&b"none"[..], |value| value.as_bytes());
            seen.insert(String::from_utf8_lossy(instance).into_owned());
        }
        ensure(seen.iter().eq(expected), || format!("{seen:?}"))
    })
    .await;
}
