//! Who speaks AMQP: connections, users with what they may do, and virtual hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use posthouse_base::problem::Problem;
use posthouse_broker::ids::{ConnectionId, UserName};
use posthouse_broker::management::table;
use posthouse_broker::state::{Ask, ConnectionView, Permissions, State as Broker, User};
use posthouse_broker::{Handle, hash_password};
use serde::{Deserialize, Serialize};
use serde_json::Value;
#[cfg(test)]
use utoipa::ToSchema;

use super::{Of, broker, missing, name, refused, told};
use crate::admin::input::{Asked, Named, Sent};
#[cfg(test)]
use crate::admin::wire::ProblemDetails;
use crate::admin::{Refusal, State};

/// The connections.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Connections {
    /// In the order in which they came.
    connections: Vec<Connection>,
}

/// A client's connection.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Connection {
    /// Its number.
    id: u64,
    /// From where to where, or the name that it gave itself.
    name: String,
    /// Who it is.
    user: String,
    /// Its virtual host.
    vhost: String,
    /// Its channels.
    channels: usize,
    /// Its consumers.
    consumers: usize,
    /// Deliveries that it has unacknowledged.
    unacknowledged: usize,
    /// Whether it is a part of Posthouse itself: the admin API, the HTTP door, a push subscription.
    internal: bool,
    /// What the client says of itself.
    #[cfg_attr(test, schema(value_type = Object))]
    client: Value,
}

/// The virtual hosts.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Vhosts {
    /// By name.
    vhosts: Vec<Vhost>,
}

/// A virtual host.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct Vhost {
    /// Its name.
    name: String,
}

/// The users.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct MessageUsers {
    /// By name.
    users: Vec<MessageUser>,
}

/// A user, without its password.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct MessageUser {
    /// Its name.
    name: String,
    /// `administrator`, `monitoring` …
    tags: Vec<String>,
    /// Whether it may only come from this machine.
    loopback_only: bool,
    /// What it may do, by virtual host.
    permissions: BTreeMap<String, MessagePermissions>,
}

/// Regular expressions over names.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct MessagePermissions {
    /// What may be declared and deleted.
    configure: String,
    /// What may be published to and bound.
    write: String,
    /// What may be read and bound to.
    read: String,
}

/// How a user is to be.
#[derive(Deserialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct MessageUserSpec {
    /// The password; if left out, the one that it has stays.
    #[serde(default)]
    password: Option<String>,
    /// `administrator`, `monitoring` …
    #[serde(default)]
    tags: Vec<String>,
}

/// Why a connection is closed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Why {
    reason: Option<String>,
}

/// Lists the connections.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/connections", security(("token" = ["viewer"])),
    params(("vhost" = Option<String>, Query, description = "Only those of this virtual host")),
    responses(
        (status = 200, body = Connections),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn connections(
    Shared(state): Shared<State>,
    Asked(Of { vhost }): Asked<Of>,
) -> Result<Json<Connections>, Refusal> {
    let all = all_connections(broker(&state)?).await?;
    let is_meant = |view: &ConnectionView| vhost.iter().all(|name| view.vhost.as_str() == name);
    let connections = all.into_iter().filter(is_meant).map(Connection::from).collect();
    Ok(Json(Connections { connections }))
}

async fn all_connections(broker: &Handle) -> Result<Vec<ConnectionView>, Refusal> {
    let gathered = broker.look(|state| state.connections().collect::<Vec<_>>());
    gathered.await.map_err(|error| refused(&error))
}

/// Closes a connection.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/connections/{id}", security(("token" = ["operator"])),
    params(
        ("id" = u64, Path, minimum = 0, description = "The connection's number"),
        ("reason" = Option<String>, Query, description = "Why, for the client"),
    ),
    responses(
        (status = 204, description = "It is closed."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn disconnect(
    Shared(state): Shared<State>,
    Named(id): Named<u64>,
    Asked(Why { reason }): Asked<Why>,
) -> Result<Response, Refusal> {
    let (broker, connection) = (broker(&state)?, ConnectionId::new(id));
    let all = all_connections(broker).await?;
    let Some(view) = all.iter().find(|view| view.id == connection) else {
        return Err(missing("connection", &id.to_string()));
    };
    let reason = reason.unwrap_or_else(|| "closed by an operator".into()).into();
    put(broker, Ask::Disconnect { connection, reason }).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("connection {id} ({}) closed", view.name)))
}

/// Lists the virtual hosts.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/vhosts", security(("token" = ["viewer"])),
    responses(
        (status = 200, body = Vhosts),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn vhosts(
    Shared(state): Shared<State>,
) -> Result<Json<Vhosts>, Refusal> {
    let names = all_vhosts(broker(&state)?).await?;
    Ok(Json(Vhosts { vhosts: names.into_iter().map(|name| Vhost { name }).collect() }))
}

async fn all_vhosts(broker: &Handle) -> Result<Vec<String>, Refusal> {
    let gathered = broker.look(|state| state.vhosts().map(ToString::to_string).collect::<Vec<_>>());
    gathered.await.map_err(|error| refused(&error))
}

/// Makes a virtual host; it may be there.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/messages/vhosts/{vhost}", security(("token" = ["admin"])),
    params(("vhost" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is there."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn put_vhost(
    Shared(state): Shared<State>,
    Named(vhost): Named<String>,
) -> Result<Response, Refusal> {
    let name = name("vhost", &vhost)?.into();
    put(broker(&state)?, Ask::PutVhost(name)).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("virtual host {vhost} put")))
}

/// Removes a virtual host with everything in it, and closes its connections.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/vhosts/{vhost}", security(("token" = ["admin"])),
    params(("vhost" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json",
         description = "It is the one of the configuration."),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json",
         description = "There is too much in it to be removed at once: delete its queues first."),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn delete_vhost(
    Shared(state): Shared<State>,
    Named(vhost): Named<String>,
) -> Result<Response, Refusal> {
    let broker = broker(&state)?;
    if !all_vhosts(broker).await?.contains(&vhost) {
        return Err(missing("virtual host", &vhost));
    }
    if vhost == broker.config().vhost() {
        let detail = "it is the virtual host of the configuration file (`messages.vhost`)";
        return Err(Refusal(Problem::new(409, "Conflict").detail(detail)));
    }
    put(broker, Ask::DeleteVhost((&*vhost).into())).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("virtual host {vhost} removed")))
}

/// Lists the users, without their passwords.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/v1/messages/users", security(("token" = ["viewer"])),
    responses(
        (status = 200, body = MessageUsers),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn users(
    Shared(state): Shared<State>,
) -> Result<Json<MessageUsers>, Refusal> {
    let gathered = broker(&state)?.look(|state| {
        let user = |user: &User| MessageUser::of(state, user);
        state.users().map(user).collect::<Vec<_>>()
    });
    Ok(Json(MessageUsers { users: gathered.await.map_err(|error| refused(&error))? }))
}

/// Makes a user, or says something else of it. Those of the configuration file are at each start as the
/// file has them.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/messages/users/{user}", security(("token" = ["admin"])),
    params(("user" = String, Path, description = "Its name")),
    request_body(content = MessageUserSpec),
    responses(
        (status = 204, description = "It is there."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn put_user(
    Shared(state): Shared<State>,
    Named(user): Named<String>,
    Sent(spec): Sent<MessageUserSpec>,
) -> Result<Response, Refusal> {
    let broker = broker(&state)?;
    let known = one_user(broker, name("user", &user)?).await?;
    let password_hash = match (&spec.password, &known) {
        (Some(password), _) if password.is_empty() => {
            return Err(wrong("password", "a user without a password cannot log in"));
        }
        (Some(password), _) => Arc::from(hash_password(password.as_bytes())),
        (None, Some(known)) => Arc::clone(&known.password_hash),
        (None, None) => return Err(wrong("password", "a new user needs a password")),
    };
    let tags = spec.tags.iter().map(|tag| name("tags", tag).map(Arc::from));
    let put_user = User {
        name: UserName::from(&*user),
        password_hash,
        tags: tags.collect::<Result<_, _>>()?,
        loopback_only: known.is_some_and(|known| known.loopback_only),
    };
    put(broker, Ask::PutUser(put_user)).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("user {user} put")))
}

/// Removes a user, and closes its connections.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/users/{user}", security(("token" = ["admin"])),
    params(("user" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn delete_user(
    Shared(state): Shared<State>,
    Named(user): Named<String>,
) -> Result<Response, Refusal> {
    let broker = broker(&state)?;
    if one_user(broker, &user).await?.is_none() {
        return Err(missing("user", &user));
    }
    put(broker, Ask::DeleteUser(UserName::from(&*user))).await?;
    Ok(told(StatusCode::NO_CONTENT, format!("user {user} removed")))
}

/// Says what a user may do in a virtual host.
#[cfg_attr(test, utoipa::path(
    put, path = "/api/v1/messages/users/{user}/permissions/{vhost}",
    security(("token" = ["admin"])),
    params(
        ("user" = String, Path, description = "The user's name"),
        ("vhost" = String, Path, description = "The virtual host's name"),
    ),
    request_body(content = MessagePermissions),
    responses(
        (status = 204, description = "It may do that."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn permit(
    Shared(state): Shared<State>,
    Named((user, vhost)): Named<(String, String)>,
    Sent(sent): Sent<MessagePermissions>,
) -> Result<Response, Refusal> {
    let permissions = Permissions {
        configure: sent.configure.into(),
        write: sent.write.into(),
        read: sent.read.into(),
    };
    let ask = Ask::Permit {
        user: UserName::from(&*user),
        vhost: (&*vhost).into(),
        permissions: Some(permissions),
    };
    put(broker(&state)?, ask).await?;
    let outcome = format!("permissions of user {user} in virtual host {vhost} put");
    Ok(told(StatusCode::NO_CONTENT, outcome))
}

/// Takes away what a user may do in a virtual host.
#[cfg_attr(test, utoipa::path(
    delete, path = "/api/v1/messages/users/{user}/permissions/{vhost}",
    security(("token" = ["admin"])),
    params(
        ("user" = String, Path, description = "The user's name"),
        ("vhost" = String, Path, description = "The virtual host's name"),
    ),
    responses(
        (status = 204, description = "It may do nothing there."),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
))]
pub(in crate::admin) async fn forbid(
    Shared(state): Shared<State>,
    Named((user, vhost)): Named<(String, String)>,
) -> Result<Response, Refusal> {
    let (name, host) = (UserName::from(&*user), (&*vhost).into());
    put(broker(&state)?, Ask::Permit { user: name, vhost: host, permissions: None }).await?;
    let outcome = format!("permissions of user {user} in virtual host {vhost} taken away");
    Ok(told(StatusCode::NO_CONTENT, outcome))
}

async fn put(broker: &Handle, ask: Ask) -> Result<(), Refusal> {
    broker.ask(ask).await.map_err(|error| refused(&error))
}

async fn one_user(broker: &Handle, name: &str) -> Result<Option<User>, Refusal> {
    let gathered =
        broker.look(|state| state.users().find(|user| user.name.as_str() == name).cloned());
    gathered.await.map_err(|error| refused(&error))
}

fn wrong(field: &str, detail: &str) -> Refusal {
    Refusal(Problem::new(422, "Unprocessable Content").detail(detail).field(field))
}

impl MessageUser {
    fn of(state: &Broker, user: &User) -> Self {
        let its = state.permissions_of_all().filter(|(name, ..)| **name == user.name);
        let permissions = its.map(|(_, vhost, may)| {
            let may = MessagePermissions {
                configure: may.configure.to_string(),
                write: may.write.to_string(),
                read: may.read.to_string(),
            };
            (vhost.to_string(), may)
        });
        Self {
            name: user.name.to_string(),
            tags: user.tags.iter().map(ToString::to_string).collect(),
            loopback_only: user.loopback_only,
            permissions: permissions.collect(),
        }
    }
}

impl From<ConnectionView> for Connection {
    fn from(view: ConnectionView) -> Self {
        Self {
            id: view.id.get(),
            name: view.name.to_string(),
            user: view.user.to_string(),
            vhost: view.vhost.to_string(),
            channels: view.channels,
            consumers: view.consumers,
            unacknowledged: view.unacked,
            internal: view.is_house,
            client: table(&view.client),
        }
    }
}
