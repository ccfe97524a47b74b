//! The API's own description, made complete: what every question may be answered besides what it says
//! itself, and which role it asks for. The guard goes by the same description, so that the two cannot
//! differ.

use std::collections::HashMap;

use axum::http::Method;
use posthouse_catalog::config::{RawApi, RawPlan, RawVersion};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::config::admin::Role;

/// The scheme by which tokens are asked for.
const SCHEME: &str = "token";

/// See the file's head.
#[derive(Debug)]
pub(super) struct Described {
    /// As it is while tokens are asked for.
    with_tokens: Value,
    /// As it is while none are.
    without: Value,
    /// By method, then by path as the router has it.
    roles: HashMap<Method, HashMap<String, Role>>,
}

impl Described {
    /// Completes a description in which each operation names its role as what [`SCHEME`] requires.
    pub(super) fn new(mut description: Value) -> Self {
        add_forms_of_the_file(&mut description);
        let mut roles: HashMap<Method, HashMap<String, Role>> = HashMap::new();
        let problems = json!({ "$ref": "#/components/schemas/ProblemDetails" });
        for (path, item) in description["paths"].as_object_mut().into_iter().flatten() {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                let role = operation["security"][0][SCHEME][0].as_str().and_then(Role::of_name);
                let role = role.unwrap_or(Role::Admin);
                operation["security"] = json!([{ SCHEME: [role.name()] }]);
                complete(operation, role, &problems);
                roles.entry(method).or_default().insert(path.clone(), role);
            }
        }
        description["components"]["securitySchemes"] = json!({ SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An admin token of the configuration. What is asked of it is a role: \
                            `viewer`, `operator` or `admin`, each of which may do what those before \
                            it may.",
        } });
        let mut without = description.clone();
        for item in
            without["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut())
        {
            for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
                if let Some(operation) = operation.as_object_mut() {
                    operation.shift_remove("security");
                }
            }
        }
        Self { with_tokens: description, without, roles }
    }

    /// The description as it is now: with tokens, or without.
    pub(super) const fn of(&self, with_tokens: bool) -> &Value {
        if with_tokens { &self.with_tokens } else { &self.without }
    }

    /// The role that a question asks for, if it is described.
    pub(super) fn role(&self, method: &Method, path: &str) -> Option<Role> {
        // What answers GET answers HEAD.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.roles.get(method)?.get(path).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_role_asks_for_the_highest() {
        let described = Described::new(json!({ "paths": {
            "/a": {
                "get": { "security": [{ "token": ["viewer"] }], "responses": { "200": {} } },
                "post": { "responses": {} },
            },
        } }));
        assert_eq!(described.role(&Method::GET, "/a"), Some(Role::Viewer));
        assert_eq!(described.role(&Method::HEAD, "/a"), Some(Role::Viewer));
        assert_eq!(described.role(&Method::POST, "/a"), Some(Role::Admin));
        assert_eq!(described.role(&Method::GET, "/b"), None);
        let get = &described.of(true)["paths"]["/a"]["get"];
        assert_eq!(get["responses"]["200"]["description"], "As asked.");
        assert!(get["responses"]["403"].is_object() && get["security"].is_array());
        assert!(described.of(false)["paths"]["/a"]["get"].get("security").is_none());
    }
}
