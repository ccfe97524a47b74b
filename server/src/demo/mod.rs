//! `posthouse demo`: a house and the sample shop on one machine, who may call it, and what happens when
//! an instance dies.
//!
//! In reading order: [`run`] (the story), [`guard`] (its part about those who call), [`shop`] (instances
//! in processes of their own), [`client`] (calls as any client makes them), [`load`] (many of them,
//! counted), [`mails`] (its part about messages).

mod client;
mod guard;
mod load;
mod mails;
mod shop;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::table::table;
use crate::cli::{Demo, DemoService, Failure, Log, ShopService, print};
use crate::config::{Config, Source};
use crate::house::House;
use crate::signals::Signals;
use client::Client;
use load::{Load, Tally};
use shop::Shop;

/// How many calls show the balancing.
const SHOWN_CALLS: usize = 100;

/// Connections that call at the same time while an instance dies.
const CALLERS: usize = 8;

/// How long they call before and after.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(3);

/// How long the instances may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one instance of the shop in this process.
pub(crate) fn service(options: DemoService, log: &Log) -> Result<(), Failure> {
    log.start("info")?;
    let options = posthouse_shop::Options {
        service: match options.service {
            ShopService::Users => posthouse_shop::Service::Users,
            ShopService::Orders => posthouse_shop::Service::Orders,
            ShopService::Mailer => posthouse_shop::Service::Mailer,
        },
        instance: options.instance,
        address: options.address,
        database: options.database,
        registry: options.registry,
        gateway: options.gateway,
        messages: options.messages,
        pause: Duration::from_millis(options.pause_ms),
    };
    crate::runtime()?.block_on(posthouse_shop::run(options)).map_err(Failure::other)
}

/// Runs the whole demonstration.
pub(crate) fn run(options: &Demo, log: &Log) -> Result<(), Failure> {
    // What the gateway warns of is what is shown.
    log.start("error")?;
    let folder = tempfile::Builder::new().prefix("posthouse-demo-").tempdir();
    let folder = folder.context("no temporary folder").map_err(Failure::setup)?;
    crate::runtime()?.block_on(async {
        let mut signals = Signals::catch()?;
        let (source, config) = configuration(options, folder.path())?;
        let house = House::start(config, source, &[]).await.map_err(Failure::setup)?;
        let shown = show(&house, &folder, options.once, &mut signals).await;
        house.stop().await;
        shown
    })
}

/// The story, up to its end or to Ctrl-C.
async fn show(
    house: &House,
    folder: &TempDir,
    once: bool,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let story = async {
        let mut shop = start(house, folder.path()).await?;
        let failed = tell(house, &mut shop).await?;
        Ok::<_, anyhow::Error>((shop, failed))
    };
    let (shop, failed) = tokio::select! {
        told = story => told.map_err(Failure::other)?,
        () = signals.end() => return Ok(()),
    };
    if !once {
        let admin = house.addresses().admin.map(|admin| format!(" (admin API on {admin})"));
        say(&format!("\nStill running{}. Ctrl-C ends it.\n", admin.unwrap_or_default()))?;
        signals.end().await;
    }
    shop.stop().await;
    if failed > 0 {
        return Err(Failure::other(anyhow::anyhow!("{failed} calls failed")));
    }
    Ok(())
}

/// Starts the shop and waits until everything can be called.
async fn start(house: &House, folder: &Path) -> anyhow::Result<Shop> {
    let addresses = house.addresses();
    let gateway = *addresses.listeners.first().context("no listener")?;
    let registry = addresses.registry.context("no registry")?;
    say(&format!("Posthouse is up: calls on {gateway}, names (Consul API) on {registry}\n"))?;
    say("Starting users-1, users-2, orders-1 and orders-2, each a process of its own …\n")?;
    let messages = addresses.messages_http.context("no HTTP door for messages")?;
    let shop = Shop::start(folder, registry, gateway, messages)?;
    let ready = async {
        shop.registered(registry).await?;
        for (path, name) in [("/api/v1/users", "users"), ("/api/v1/orders", "orders")] {
            client::answered_by(gateway, path, &[&format!("{name}-1"), &format!("{name}-2")])
                .await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let ready = tokio::time::timeout(PATIENCE, ready).await;
    ready.with_context(|| {
        format!("not ready after {PATIENCE:?}; logs are in {}", folder.display())
    })??;
    say("They have registered themselves, and their checks pass.\n")?;
    Ok(shop)
}

/// Everything that is shown. Returns how many calls failed.
async fn tell(house: &House, shop: &mut Shop) -> anyhow::Result<usize> {
    let gateway = *house.addresses().listeners.first().context("no listener")?;
    a_few_calls(gateway).await?;
    balancing(gateway).await?;
    let admin = house.addresses().admin.context("no admin API")?;
    guard::tell(gateway, admin).await?;
    mails::tell(gateway, admin, shop).await?;
    failover(gateway, shop).await
}

async fn a_few_calls(gateway: SocketAddr) -> anyhow::Result<()> {
    say("\nA few calls through the gateway:\n")?;
    let mut client = Client::connect(gateway).await?;
    let order = r#"{"user_id": 1, "item": "tea"}"#;
    for (method, path, body) in [
        (Method::GET, "/api/v1/users/1", ""),
        (Method::GET, "/api/v1/users/999", ""),
        (Method::GET, "/api/greet?name=Alice", ""),
        (Method::POST, "/api/v1/orders", order),
    ] {
        let answer = client.call(method.clone(), path, body).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let (status, from) = (answer.status, &answer.instance);
        say(&format!("  {method} {path} → {status} from {from}\n      {}\n", text.trim()))?;
        let known = answer.status != StatusCode::NOT_FOUND || path.ends_with("999");
        ensure!(!answer.status.is_server_error() && known, "{path} was answered with {status}");
    }
    let (name, from) = client::grpc_user_name(gateway, 1).await?;
    say(&format!("  gRPC shop.v1.UserService/GetUser {{ id: 1 }} → OK from {from}\n      {name}\n"))
}

async fn balancing(gateway: SocketAddr) -> anyhow::Result<()> {
    say(&format!("\n{SHOWN_CALLS} calls to each service, shared by its instances:\n"))?;
    let mut client = Client::connect(gateway).await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in ["/api/v1/users/1", "/api/v1/orders"] {
        for _ in 0..SHOWN_CALLS {
            let answer = client.call(Method::GET, path, "").await?;
            ensure!(answer.status.is_success(), "{path} was answered with {}", answer.status);
            *counts.entry(answer.instance).or_default() += 1;
        }
    }
    let rows: Vec<_> =
        counts.into_iter().map(|(instance, calls)| vec![instance, calls.to_string()]).collect();
    say(&indented(&table(&["INSTANCE", "CALLS"].map(String::from), &rows)))
}

/// Kills an instance under load. Returns how many calls failed.
async fn failover(gateway: SocketAddr, shop: &mut Shop) -> anyhow::Result<usize> {
    let victim = "users-1";
    say(&format!(
        "\n{CALLERS} connections call users without a pause; kill -9 {victim} meanwhile …\n"
    ))?;
    let load = Load::start(gateway, "/api/v1/users/1", CALLERS);
    tokio::time::sleep(BEFORE).await;
    let before = load.so_far();
    shop.kill(victim).await?;
    tokio::time::sleep(AFTER).await;
    let total = load.finish().await;
    let after = total.since(&before);
    let row = |name: &str, tally: &Tally| {
        let of = |instance: &str| tally.by_instance.get(instance).copied().unwrap_or(0).to_string();
        let mut row =
            vec![name.to_owned(), tally.calls().to_string(), tally.failures.len().to_string()];
        row.extend([
            of("users-1"),
            of("users-2"),
            milliseconds(tally.percentile(50)),
            milliseconds(tally.percentile(99)),
        ]);
        row
    };
    let titles = ["", "CALLS", "FAILED", "USERS-1", "USERS-2", "P50", "P99"].map(String::from);
    let rows = [row("before the kill", &before), row("after the kill", &after)];
    say(&indented(&table(&titles, &rows)))?;
    let failed = total.failures.len();
    match total.failures.first() {
        None => say("\nAn instance died, and nobody noticed: no call failed.\n")?,
        Some(first) => say(&format!("\n{failed} calls failed; the first: {first}\n"))?,
    }
    ensure!(after.calls() > 0, "no calls were made after the kill");
    Ok(failed)
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// Tells the user. One that has gone away is no failure of the demonstration.
fn say(text: &str) -> anyhow::Result<()> {
    print(text).map_err(|_| anyhow::anyhow!("standard output cannot be written"))
}

/// What the demonstration runs: the shop's routes, on the default addresses where they are free.
fn configuration(options: &Demo, folder: &Path) -> Result<(Source, Config), Failure> {
    let port = |wanted: u16| {
        let free = !options.free_ports && TcpListener::bind(("127.0.0.1", wanted)).is_ok();
        if free { wanted } else { 0 }
    };
    let text = format!(
        r#"
data: {data}
listeners: [ {{ address: "127.0.0.1:{gateway}", names: true }} ]
admin: {{ address: "127.0.0.1:{admin}" }}
registry: {{ address: "127.0.0.1:{registry}", dns: "127.0.0.1:{dns}" }}
gateway: {{ access_log: {{ mode: off }} }}
messages:
  address: "127.0.0.1:{amqp}"
  http: {{ address: "127.0.0.1:{door}" }}
  subscriptions:
    mails:
      queue: mails
      service: mailer
      path: /messages
      timeout: 60s
      attempts: 1000
      backoff: {{ first: 200ms, most: 1s }}
routes:
  - match: {{ path: "/api/greet" }}
    service: users
  - match: {{ path: "/api/v1/orders" }}
    service: orders
  - match: {{ path: "/api/v1/orders/{{*rest}}" }}
    service: orders
  - match: {{ path: "/api/v1/mails" }}
    service: mailer
  - match: {{ path: "/api/v1/mails/under-way" }}
    service: mailer
  - match: {{ path: "/shop.v1.UserService/{{*method}}" }}
    service: users-grpc
{guard}"#,
        guard = guard::SECTIONS,
        data = Value::String(folder.join("data").display().to_string()),
        gateway = port(8080),
        admin = port(8400),
        registry = port(8500),
        dns = port(8600),
        amqp = port(5672),
        door = port(8672),
    );
    let source = Source::Text { name: "(demo)", text };
    let text = source.text().context("the demonstration's configuration")?;
    let checked = source.check(&text);
    let said = checked.findings.to_text(false);
    let config =
        checked.config.with_context(|| format!("the demonstration's configuration:\n{said}"))?;
    Ok((source, config))
}
