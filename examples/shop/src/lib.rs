//! The sample shop: three small services as a team would write them, with nothing of Posthouse in
//! them but its address. They serve HTTP, register themselves over the Consul API and call each
//! other by name through the gateway.
//!
//! In reading order: [`run`] (the life of one instance), `users` (HTTP and gRPC on one port),
//! `orders` (asks `users` through the gateway, announces what was placed), `mailer` (is called for each
//! of these messages), `store` (SQLite, one file a service),
//! `directory` (register and deregister), `call` (the HTTP client), `answer` (JSON errors).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use http::HeaderValue;
use tokio::net::TcpListener;

mod answer;
mod call;
mod directory;
mod mailer;
mod orders;
mod store;
mod users;

/// The answer header that names the instance, so that balancing can be seen.
const INSTANCE_HEADER: &str = "x-shop-instance";

/// The name under which the gRPC side of `users` is registered.
const GRPC_NAME: &str = "users-grpc";

/// How long an instance that has left the registry goes on serving those who have not heard yet.
const LEAVING: Duration = Duration::from_millis(300);

/// How long running calls may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Which of the shop's services to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Users, over HTTP and gRPC, and the greeting. The gRPC side is registered as `users-grpc`.
    Users,
    /// Orders; each asks `users` through the gateway.
    Orders,
    /// Mails about orders; called for each message that one was placed.
    Mailer,
}

impl Service {
    /// The name under which the service is registered.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Orders => "orders",
            Self::Mailer => "mailer",
        }
    }
}

/// What one instance needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The service to run.
    pub service: Service,
    /// The instance's id in the registry, e.g. `users-1`.
    pub instance: String,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The service's SQLite file, shared by its instances. Created when missing.
    pub database: PathBuf,
    /// The registry (Consul's HTTP API) as `HOST:PORT`.
    pub registry: String,
    /// The gateway as `HOST:PORT`, through which other services are called by name.
    pub gateway: String,
    /// Where messages are published over HTTP, as `HOST:PORT`; without it orders are not announced.
    pub messages: Option<String>,
    /// How long the mailer takes for a mail.
    pub pause: Duration,
}

/// Runs one instance until SIGTERM or SIGINT: opens the database, listens, registers, serves,
/// deregisters, lets running calls finish.
///
/// # Errors
/// When the database cannot be opened, the address is taken or the registry stays unreachable.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    let client = call::Client::new();
    let app = router(&options, &client).await?;
    let listener = TcpListener::bind(options.address)
        .await
        .with_context(|| format!("{} cannot listen on {}", options.instance, options.address))?;
    let address = listener.local_addr()?;

    let (drain, drained) = tokio::sync::oneshot::channel::<()>();
    let listener = listener.tap_io(|stream| {
        // Small answers must not wait for more bytes; one that cannot be set is only slower.
        let _slower = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        let _dropped_means_stop_too = drained.await;
    });
    let mut serving = tokio::spawn(async move { serving.await });

    let entries = entries(&options, address);
    let directory = directory::Directory::new(client, options.registry.clone());
    tokio::select! {
        registered = directory.register(&entries) => registered?,
        () = stop.received() => return Ok(()),
    }
    tracing::info!(instance = %options.instance, %address, "serving");

    tokio::select! {
        ended = &mut serving => return Ok(ended??),
        () = stop.received() => {}
    }
    if let Err(error) = directory.deregister(&entries).await {
        tracing::warn!(instance = %options.instance, "could not deregister: {error:#}");
    }
    tokio::time::sleep(LEAVING).await;
    let _nobody_waits = drain.send(());
    match tokio::time::timeout(DRAIN, serving).await {
        Ok(ended) => Ok(ended??),
        Err(_deadline) => Ok(()),
    }
}

/// What is registered: the service, and for `users` its gRPC side under a name of its own, since
/// the gateway speaks one protocol to a service and both are on one port.
fn entries(options: &Options, address: SocketAddr) -> Vec<directory::Entry> {
    let main = directory::Entry {
        service: options.service.name(),
        instance: options.instance.clone(),
        address,
        protocol: "http",
    };
    let grpc = || directory::Entry {
        service: GRPC_NAME,
        instance: format!("{}-grpc", options.instance),
        address,
        protocol: "grpc",
    };
    match options.service {
        Service::Users => vec![main, grpc()],
        Service::Orders | Service::Mailer => vec![main],
    }
}

/// The routes of the chosen service, over its own database.
async fn router(options: &Options, client: &call::Client) -> anyhow::Result<Router> {
    let routes = match options.service {
        Service::Users => users::router(users::Users::open(&options.database).await?),
        Service::Orders => {
            let users = orders::UserDirectory::new(client.clone(), options.gateway.clone());
            let messages = options.messages.clone();
            let announcements = orders::Announcements::new(client.clone(), messages);
            orders::router(orders::Orders::open(&options.database).await?, users, announcements)
        }
        Service::Mailer => {
            let (instance, pause) = (options.instance.clone(), options.pause);
            mailer::router(mailer::Mailer::open(&options.database, instance, pause).await?)
        }
    };
    let instance = HeaderValue::from_str(&options.instance)
        .context("an instance's id must fit into a header")?;
    let instance = Arc::new(instance);
    Ok(routes
        .route("/healthz", axum::routing::get(|| async { "ok\n" }))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::middleware::map_response(move |mut response: axum::response::Response| {
            response.headers_mut().insert(INSTANCE_HEADER, HeaderValue::clone(&instance));
            async move { response }
        })))
}

/// The signals that end an instance. Listened for from the start, so that none is missed.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
