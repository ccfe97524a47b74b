//! The description of the API as its code has it: what every question may be answered besides what it
//! says itself, and which role it asks for. What is shipped must be this, word for word; with
//! `UPDATE_GOLDEN=1` (or `cargo xtask docs`) it is written anew.

use posthouse_broker::RawSubscription;
use posthouse_catalog::config::{RawApi, RawPlan, RawVersion};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::described::{FILE, TEXT};
use crate::config::admin::Role;

/// The scheme by which tokens are asked for.
const SCHEME: &str = "token";

#[test]
fn what_is_shipped_is_what_the_code_does() {
    let text = serde_json::to_string_pretty(&description()).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(FILE, &text).expect("the description");
    } else {
        assert!(text == TEXT, "{FILE} is out of date: run with UPDATE_GOLDEN=1\n{text}");
    }
}

/// The API as its clients' tools read it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Posthouse admin API",
        description = "Looks at a running Posthouse and tells it what to do. Errors are problem \
                       details (RFC 9457).",
    ),
    paths(
        super::api::routes,
        super::api::services,
        super::api::service,
        super::pick::pick,
        super::api::endpoints,
        super::api::nodes,
        super::engine::names,
        super::api::configuration,
        super::api::check,
        super::api::reload,
        super::api::openapi,
        super::audit::audit,
        super::backup::backup,
        super::catalog::apis,
        super::catalog::api,
        super::catalog::put_api,
        super::catalog::delete_api,
        super::catalog::api_history,
        super::catalog::version,
        super::catalog::put_version,
        super::catalog::delete_version,
        super::catalog::publish,
        super::catalog::deprecate,
        super::catalog::retire,
        super::catalog::import,
        super::catalog::document,
        super::catalog::version_history,
        super::catalog::compare,
        super::catalog::roll_back,
        super::catalog::plans,
        super::catalog::plan,
        super::catalog::put_plan,
        super::catalog::delete_plan,
        super::consumers::consumers,
        super::consumers::consumer,
        super::consumers::put_consumer,
        super::consumers::delete_consumer,
        super::consumers::history,
        super::consumers::keys,
        super::consumers::issue_key,
        super::consumers::rotate_key,
        super::consumers::revoke_key,
        super::explain::explain,
        super::managed::export,
        super::managed::apply,
        super::messages::overview,
        super::messages::queues::queues,
        super::messages::queues::queue,
        super::messages::queues::put_queue,
        super::messages::queues::delete_queue,
        super::messages::queues::purge,
        super::messages::queues::consumers,
        super::messages::traffic::get_messages,
        super::messages::traffic::publish,
        super::messages::exchanges::exchanges,
        super::messages::exchanges::exchange,
        super::messages::exchanges::put_exchange,
        super::messages::exchanges::delete_exchange,
        super::messages::exchanges::bindings,
        super::messages::exchanges::bind,
        super::messages::exchanges::unbind,
        super::messages::clients::connections,
        super::messages::clients::disconnect,
        super::messages::clients::vhosts,
        super::messages::clients::put_vhost,
        super::messages::clients::delete_vhost,
        super::messages::clients::users,
        super::messages::clients::put_user,
        super::messages::clients::delete_user,
        super::messages::clients::permit,
        super::messages::clients::forbid,
        super::messages::subscriptions::subscriptions,
        super::messages::subscriptions::put_subscription,
        super::messages::subscriptions::delete_subscription,
        super::messages::definitions::export,
        super::messages::definitions::import,
        super::messages::drain::plan,
        super::messages::drain::definitions,
        super::messages::drain::queue,
    )
)]
struct Description;

/// The whole description, from the questions and the shapes of their answers.
fn description() -> Value {
    let mut description = serde_json::to_value(Description::openapi()).expect("JSON");
    add_forms_of_the_file(&mut description);
    let problems = json!({ "$ref": "#/components/schemas/ProblemDetails" });
    for (path, item) in description["paths"].as_object_mut().expect("paths") {
        for (method, operation) in item.as_object_mut().expect("operations") {
            if is_of_the_embedded_broker(path, method) {
                let responses = operation["responses"].as_object_mut().expect("responses");
                responses.entry("409").or_insert_with(|| {
                    let content =
                        json!({ "application/problem+json": { "schema": problems.clone() } });
                    json!({ "description": "An engine keeps messages: ask its own management.",
                            "content": content })
                });
            }
            let role = operation["security"][0][SCHEME][0].as_str();
            // What names no role asks for the highest.
            let role = role.and_then(Role::of_name).unwrap_or(Role::Admin);
            operation["security"] = json!([{ SCHEME: [role.name()] }]);
            complete(operation, role, &problems);
        }
    }
    description["components"]["securitySchemes"] = json!({ SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "description": "An admin token of the configuration. What is asked of it is a role: \
                        `viewer`, `operator` or `admin`, each of which may do what those before \
                        it may.",
    } });
    description
}

/// Whether it is answered with 409 when an engine is in the broker's place.
fn is_of_the_embedded_broker(path: &str, method: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/v1/messages/") else { return false };
    let kind = rest.split('/').next().unwrap_or_default();
    match kind {
        "queues" => !rest.ends_with("/get") && !rest.ends_with("/purge"),
        "exchanges" | "bindings" | "consumers" | "connections" => true,
        "definitions" => method == "post",
        _ => false,
    }
}

/// What is written as in the configuration file has the same schema as there.
fn add_forms_of_the_file(description: &mut Value) {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    for (name, schema) in [
        ("RawApi", generator.subschema_for::<RawApi>()),
        ("RawVersion", generator.subschema_for::<RawVersion>()),
        ("RawPlan", generator.subschema_for::<RawPlan>()),
        ("MessagesSubscription", generator.subschema_for::<RawSubscription>()),
    ] {
        debug_assert!(schema.to_value().to_string().contains(name), "{name} has another name");
    }
    for (name, schema) in generator.take_definitions(true) {
        description["components"]["schemas"][name] = schema;
    }
}

/// Adds what is the same for all: who may ask, and what the others are told.
fn complete(operation: &mut Value, role: Role, problems: &Value) {
    let role = role.name();
    operation["x-posthouse-role"] = json!(role);
    let problem = |description: &str| {
        let content = json!({ "application/problem+json": { "schema": problems } });
        json!({ "description": description, "content": content })
    };
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let refused = [
        ("401", "There are admin tokens, and none was brought.".to_owned()),
        (
            "403",
            format!(
                "The token's role is below `{role}`; or there are no tokens, and another name than `localhost` or an IP address was asked for."
            ),
        ),
    ];
    for (status, description) in refused {
        let known = responses.entry(status).or_insert_with(|| problem(&description));
        if status == "401" {
            known["headers"]["WWW-Authenticate"] =
                json!({ "description": "`Bearer`", "schema": { "type": "string" } });
        }
    }
    for (status, response) in responses.iter_mut() {
        let said = response["description"].as_str().unwrap_or_default();
        if said.is_empty() {
            response["description"] = json!(meaning(status));
        }
    }
}

/// What a status says by itself.
fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "As asked.",
        "400" => "The request cannot be understood.",
        "404" => "There is no such thing.",
        "409" => "It is not as the request believes.",
        "413" => "The body is too large.",
        "422" => "It is understood, and wrong.",
        "503" => "It cannot be said, or kept, at the moment.",
        _ => "See the status.",
    }
}
