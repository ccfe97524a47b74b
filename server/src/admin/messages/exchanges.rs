//! Exchanges, and what is bound to them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use posthouse_broker::management::{table, table_from};
use posthouse_broker::state::{
    Act, BindExchange, BindQueue, BindingView, DeclareExchange, DeleteExchange, ExchangeSpec,
    State as Broker,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
#[cfg(test)]
use utoipa::ToSchema;

use super::{Of, Within, ask, broker, missing, name, refused, told, unfit, vhost};
use crate::admin::input::{Asked, Named, Sent};
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// The exchanges.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Exchanges {
    /// By virtual host and name; without the default exchange, which leads to every queue by its name.
    exchanges: Vec<Exchange>,
}

/// An exchange.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Exchange {
    /// Its name.
    name: String,
    /// Its virtual host.
    vhost: String,
    /// `direct`, `fanout`, `topic` or `headers`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Whether it is there after a restart.
    durable: bool,
    /// Whether it goes with the last of its bindings.
    auto_delete: bool,
    /// Whether clients may not publish to it.
    internal: bool,
    /// `alternate-exchange`, and whatever else.
    #[cfg_attr(test, schema(value_type = Object))]
    arguments: Value,
}

/// An exchange with what is bound to it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct ExchangeDetail {
    /// The exchange.
    #[serde(flatten)]
    exchange: Exchange,
    /// Where it leads.
    bindings: Vec<Binding>,
}

/// How an exchange is to be.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct ExchangeSpecification {
    /// `direct`, `fanout`, `topic` or `headers`.
    #[serde(rename = "type")]
    kind: String,
    /// Whether it is there after a restart.
    #[serde(default = "yes")]
    durable: bool,
    /// Whether it goes with the last of its bindings.
    #[serde(default)]
    auto_delete: bool,
    /// Whether clients may not publish to it.
    #[serde(default)]
    internal: bool,
    /// `alternate-exchange`.
    #[cfg_attr(test, schema(value_type = Object))]
    #[serde(default)]
    arguments: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// Bindings.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Bindings {
    /// Without those of the default exchange.
    bindings: Vec<Binding>,
}

/// Where messages go on from an exchange.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Binding {
    /// The virtual host; where none is named, the one that is meant then.
    #[serde(default)]
    vhost: Option<String>,
    /// The exchange that they come from.
    source: String,
    /// Where they go.
    destination: String,
    /// Whether that is a `queue` or an `exchange`.
    #[serde(default)]
    destination_type: DestinationType,
    /// By which key, or pattern.
    #[serde(default)]
    routing_key: String,
    /// By which headers.
    #[cfg_attr(test, schema(value_type = Object))]
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(rename_all = "lowercase")]
enum DestinationType {
    #[default]
    Queue,
    Exchange,
}

/// What is removed, and when not.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct OnlyIf {
    vhost: Option<String>,
    if_unused: bool,
}

/// Lists the exchanges.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/exchanges", security(("token" = ["viewer"])),
    params(("vhost" = Option<String>, Query, description = "Only those of this virtual host")),
    responses(
        (status = 200, body = Exchanges),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn exchanges(
    Shared(state): Shared<State>,
    Asked(Of { vhost }): Asked<Of>,
) -> Result<Json<Exchanges>, Refusal> {
    let gathered = broker(&state)?
        .look(|state| state.exchanges_of_all().cloned().collect::<Vec<Arc<ExchangeSpec>>>());
    let all = gathered.await.map_err(|error| refused(&error))?;
    let is_meant = |spec: &&Arc<ExchangeSpec>| vhost.iter().all(|name| spec.vhost.as_str() == name);
    let exchanges = all.iter().filter(is_meant).map(|spec| Exchange::from(&**spec)).collect();
    Ok(Json(Exchanges { exchanges }))
}

/// Shows an exchange with its bindings.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/exchanges/{exchange}", security(("token" = ["viewer"])),
    params(
        ("exchange" = String, Path, description = "The exchange's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
    ),
    responses(
        (status = 200, body = ExchangeDetail),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn exchange(
    Shared(state): Shared<State>,
    Named(exchange): Named<String>,
    Asked(within): Asked<Within>,
) -> Result<Json<ExchangeDetail>, Refusal> {
    Ok(Json(detail(&state, &exchange, within.vhost).await?))
}

async fn detail(
    state: &State,
    name: &str,
    named: Option<String>,
) -> Result<ExchangeDetail, Refusal> {
    let vhost = vhost(state, named)?;
    let gathered = broker(state)?.look(|broker| {
        let is_it =
            |spec: &&Arc<ExchangeSpec>| spec.vhost.as_str() == vhost && spec.name.as_str() == name;
        let spec = broker.exchanges_of_all().find(is_it).cloned()?;
        Some((spec, broker.binding_views()))
    });
    let found = gathered.await.map_err(|error| refused(&error))?;
    let (spec, bindings) = found.ok_or_else(|| missing("exchange", name))?;
    let bindings = bindings_of(&bindings, &vhost, |one| one.source.as_str() == name);
    Ok(ExchangeDetail { exchange: Exchange::from(&*spec), bindings })
}

/// Declares an exchange; it may be there in just this way.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/messages/exchanges/{exchange}", security(("token" = ["operator"])),
    params(
        ("exchange" = String, Path, description = "The exchange's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
    ),
    request_body(content = ExchangeSpecification),
    responses(
        (status = 200, body = ExchangeDetail),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json",
         description = "It is there in another way, or cannot be so."),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn put_exchange(
    Shared(state): Shared<State>,
    Named(exchange): Named<String>,
    Asked(within): Asked<Within>,
    Sent(spec): Sent<ExchangeSpecification>,
) -> Result<Response, Refusal> {
    let declare = DeclareExchange {
        exchange: name("exchange", &exchange)?.into(),
        kind: Arc::from(name("type", &spec.kind)?),
        durable: spec.durable,
        auto_delete: spec.auto_delete,
        internal: spec.internal,
        arguments: table_from("arguments", &spec.arguments).map_err(unfit)?,
        ..DeclareExchange::default()
    };
    ask(&state, within.vhost.as_deref(), Act::DeclareExchange(declare)).await?;
    let detail = detail(&state, &exchange, within.vhost).await?;
    Ok(told(Json(detail), format!("exchange {exchange} declared")))
}

/// Removes an exchange with all that is bound to it and by it.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/exchanges/{exchange}", security(("token" = ["admin"])),
    params(
        ("exchange" = String, Path, description = "The exchange's name"),
        ("vhost" = Option<String>, Query, description = "Its virtual host"),
        ("if_unused" = Option<bool>, Query, description = "Only when nothing is bound to it"),
    ),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn delete_exchange(
    Shared(state): Shared<State>,
    Named(exchange): Named<String>,
    Asked(OnlyIf { vhost, if_unused }): Asked<OnlyIf>,
) -> Result<Response, Refusal> {
    // To AMQP, deleting what is not there is done.
    detail(&state, &exchange, vhost.clone()).await?;
    let name = name("exchange", &exchange)?.into();
    let delete = DeleteExchange { exchange: name, if_unused, no_wait: false };
    ask(&state, vhost.as_deref(), Act::DeleteExchange(delete)).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("exchange {exchange} removed")))
}

/// Lists the bindings.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/bindings", security(("token" = ["viewer"])),
    params(("vhost" = Option<String>, Query, description = "Only those of this virtual host")),
    responses(
        (status = 200, body = Bindings),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn bindings(
    Shared(state): Shared<State>,
    Asked(Of { vhost }): Asked<Of>,
) -> Result<Json<Bindings>, Refusal> {
    let all = broker(&state)?.look(Broker::binding_views).await.map_err(|error| refused(&error))?;
    let is_meant = |view: &&BindingView| vhost.iter().all(|name| view.vhost.as_str() == name);
    Ok(Json(Bindings { bindings: all.iter().filter(is_meant).map(Binding::from).collect() }))
}

/// Binds a queue or an exchange to an exchange; it may be bound just so already.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/bindings", security(("token" = ["operator"])),
    request_body(content = Binding),
    responses(
        (status = 204, description = "It is bound."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn bind(
    Shared(state): Shared<State>,
    Sent(binding): Sent<Binding>,
) -> Result<Response, Refusal> {
    let Binding { source, destination, vhost, .. } = &binding;
    let act = match binding.parts()? {
        Parts::Queue(bind) => Act::BindQueue(bind),
        Parts::Exchange(bind) => Act::BindExchange(bind),
    };
    ask(&state, vhost.as_deref(), act).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("{destination} bound to exchange {source}")))
}

/// Takes a binding away: the one that is just so.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/v1/messages/bindings/remove", security(("token" = ["operator"])),
    request_body(content = Binding),
    responses(
        (status = 204, description = "It is not bound so (any more)."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn unbind(
    Shared(state): Shared<State>,
    Sent(binding): Sent<Binding>,
) -> Result<Response, Refusal> {
    let Binding { source, destination, vhost, .. } = &binding;
    let act = match binding.parts()? {
        Parts::Queue(bind) => Act::UnbindQueue(bind),
        Parts::Exchange(bind) => Act::UnbindExchange(bind),
    };
    ask(&state, vhost.as_deref(), act).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("{destination} taken off exchange {source}")))
}

enum Parts {
    Queue(BindQueue),
    Exchange(BindExchange),
}

impl Binding {
    fn parts(&self) -> Result<Parts, Refusal> {
        let arguments = table_from("arguments", &self.arguments).map_err(unfit)?;
        let (source, destination) =
            (name("source", &self.source)?, name("destination", &self.destination)?);
        let routing_key = name("routing_key", &self.routing_key)?.into();
        Ok(match self.destination_type {
            DestinationType::Queue => Parts::Queue(BindQueue {
                queue: destination.into(),
                exchange: source.into(),
                routing_key,
                arguments,
                no_wait: false,
            }),
            DestinationType::Exchange => Parts::Exchange(BindExchange {
                destination: destination.into(),
                source: source.into(),
                routing_key,
                arguments,
                no_wait: false,
            }),
        })
    }
}

/// Those of a virtual host that `is_its`.
pub(super) fn bindings_of(
    all: &[BindingView],
    vhost: &str,
    is_its: impl Fn(&BindingView) -> bool,
) -> Vec<Binding> {
    let its = all.iter().filter(|view| view.vhost.as_str() == vhost && is_its(view));
    its.map(Binding::from).collect()
}

impl From<&ExchangeSpec> for Exchange {
    fn from(spec: &ExchangeSpec) -> Self {
        Self {
            name: spec.name.to_string(),
            vhost: spec.vhost.to_string(),
            kind: spec.kind.as_str(),
            durable: spec.durable,
            auto_delete: spec.auto_delete,
            internal: spec.internal,
            arguments: table(&spec.arguments),
        }
    }
}

impl From<&BindingView> for Binding {
    fn from(view: &BindingView) -> Self {
        let arguments = match table(&view.arguments) {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let to = if view.to_queue { DestinationType::Queue } else { DestinationType::Exchange };
        Self {
            vhost: Some(view.vhost.to_string()),
            source: view.source.to_string(),
            destination: view.destination.clone(),
            destination_type: to,
            routing_key: view.key.to_string(),
            arguments,
        }
    }
}
