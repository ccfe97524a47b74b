//! `posthouse guard explain`: which rule lets a call pass or not, and why.

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::api::{Sent, cell, print_json, send};
use super::table::table;
use super::{Failure, Look, Output, print};

#[derive(Debug, Args)]
pub(crate) struct Guard {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell whether a call would pass, which rule decides, and why. The call is not made.
    ///
    /// The running Posthouse judges it as it would judge a real one, checks its credentials, and
    /// counts nothing.
    #[command(
        after_help = "Exit codes: 0 the call passes; 1 it is refused, or could not be asked about; 2 \
the arguments are wrong."
    )]
    Explain(Explain),
}

#[derive(Args)]
struct Explain {
    /// The call's method.
    method: String,
    /// The call's address, or its path and query.
    url: String,
    /// The credential that the call brings, as `Authorization: Bearer TOKEN`; better given by the
    /// environment.
    #[arg(long, value_name = "TOKEN", env = "POSTHOUSE_CALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A header that the call brings, like `x-api-key: KEY`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address that the call comes from [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// A file with the client certificate that the connection shows (PEM). It is taken for
    /// verified.
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,
    /// The admin address of the running Posthouse.
    #[arg(
        long,
        value_name = "URL",
        env = "POSTHOUSE_ADMIN",
        default_value = "http://127.0.0.1:8400"
    )]
    admin: String,
    /// The admin token, when it asks for one; better given by the environment.
    #[arg(long, value_name = "TOKEN", env = "POSTHOUSE_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// How the answer is shown.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

impl std::fmt::Debug for Explain {
    /// Without what may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explain").field("method", &self.method).finish_non_exhaustive()
    }
}

pub(crate) fn run(options: Guard) -> Result<(), Failure> {
    let Command::Explain(options) = options.command;
    let call = call(&options).map_err(Failure::setup)?;
    let Explain { method, url, admin, admin_token: token, output, .. } = options;
    let look = Look { admin, token, output };
    let told = send(&look, Method::POST, "guard/explain", Sent::Json(call))?;
    match look.output {
        Output::Json => print_json(&told)?,
        Output::Text => print(&shown(&told, &method, &url))?,
    }
    if told["passes"] == true {
        return Ok(());
    }
    Err(Failure::other(anyhow!("the call is refused: {}", verdict(&told))))
}

/// The call, as the admin API is asked about it.
fn call(options: &Explain) -> anyhow::Result<Value> {
    let mut headers = Vec::with_capacity(options.headers.len());
    for line in &options.headers {
        // The line may be a secret, and is not repeated.
        let (name, value) = line.split_once(':').context("a header is like `x-api-key: KEY`")?;
        headers.push(json!({ "name": name.trim(), "value": value.trim() }));
    }
    let mut call = json!({ "method": options.method, "url": options.url, "headers": headers });
    if let Some(token) = &options.token {
        call["token"] = json!(token);
    }
    if let Some(client) = &options.client {
        call["client"] = json!(client);
    }
    if let Some(file) = &options.certificate {
        let text = std::fs::read_to_string(file);
        call["certificate"] = json!(text.with_context(|| format!("{file} cannot be read"))?);
    }
    Ok(call)
}

/// What becomes of the call, in a few words.
fn verdict(told: &Value) -> String {
    let status = || cell(&told["status"]);
    let rule = cell(&told["decides"]);
    let refusing =
        told["limits"].as_array().into_iter().flatten().find(|one| one["passes"] == false);
    match (told["passes"] == true, told["decides"].is_string(), refusing) {
        (true, true, _) => format!("passes, though `{rule}` would refuse it: this is a dry run"),
        (true, false, _) if told["status"].is_u64() => {
            format!("passes; the gateway itself answers with {}", status())
        }
        (true, false, _) => "passes".into(),
        (false, _, Some(limit)) => format!("{} by the limit `{}`", status(), cell(&limit["limit"])),
        (false, true, None) if told["dry_run"] == false => format!("{} by `{rule}`", status()),
        (false, ..) => format!("the gateway itself answers with {}", status()),
    }
}

fn shown(told: &Value, method: &str, url: &str) -> String {
    let mut text = format!("{method} {url}: {}\n\n", verdict(told));
    let mut facts = vec![("route", cell(&told["route"]))];
    if told["api"].is_string() {
        facts.push(("api", cell(&told["api"])));
    }
    let identity = &told["identity"];
    if identity.is_object() {
        for name in ["subject", "provider", "consumer", "plan", "key", "scopes", "roles"] {
            facts.push((name, cell(&identity[name])));
        }
    } else {
        facts.push(("caller", "nobody that is known".into()));
    }
    for (name, value) in facts {
        text += &format!("{name:<9} {value}\n");
    }
    let mut rows = Vec::new();
    let mut is_decided = false;
    for ruling in told["rulings"].as_array().into_iter().flatten() {
        let passes = ruling["passes"] == true;
        let word = match passes {
            true => "passes",
            false if is_decided => "refuses too",
            false => "decides",
        };
        is_decided |= !passes;
        rows.push(vec![cell(&ruling["rule"]), word.to_owned(), cell(&ruling["why"])]);
    }
    if rows.is_empty() {
        text += "\nno rule asks anything of the caller\n";
    } else {
        text += "\n";
        text += &table(&["RULE", "SAYS", "WHY"].map(String::from), &rows);
    }
    let limits: Vec<Vec<String>> =
        told["limits"].as_array().into_iter().flatten().map(limit).collect();
    if !limits.is_empty() {
        let titles = ["LIMIT", "SAYS", "KIND", "COUNTED BY", "LEFT", "OF", "SECONDS"];
        text += "\n";
        text += &table(&titles.map(String::from), &limits);
    }
    text
}

fn limit(limit: &Value) -> Vec<String> {
    let says = match limit["wait_seconds"].as_u64() {
        Some(wait) => format!("refuses for {wait} s"),
        None => "passes".into(),
    };
    let [name, kind, key] = ["limit", "kind", "key"].map(|column| cell(&limit[column]));
    let [left, most, seconds] = ["left", "most", "seconds"].map(|column| cell(&limit[column]));
    vec![name, says, kind, key, left, most, seconds]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_decides_is_shown_and_the_others_too() {
        let told = json!({
            "passes": false, "status": 403, "route": "users", "decides": "scopes", "dry_run": false,
            "identity": { "subject": "ann", "provider": "idp", "scopes": [], "roles": ["buyer"] },
            "rulings": [
                { "rule": "identity", "passes": true, "why": "known" },
                { "rule": "scopes", "passes": false, "why": "wants all of: read" },
                { "rule": "roles", "passes": false, "why": "wants one of: seller" },
            ],
            "limits": [],
        });
        let text = shown(&told, "GET", "/users");
        assert!(text.starts_with("GET /users: 403 by `scopes`\n\nroute     users\n"), "{text}");
        assert!(text.contains("\nconsumer  -\n") && text.contains("\nroles     buyer\n"), "{text}");
        assert!(text.ends_with(
            "\
RULE      SAYS         WHY
identity  passes       known
scopes    decides      wants all of: read
roles     refuses too  wants one of: seller
"
        ));
    }

    #[test]
    fn a_verdict_names_what_decides() {
        let check = |told: &Value, said: &str| assert_eq!(verdict(told), said);
        check(&json!({ "passes": true }), "passes");
        check(
            &json!({ "passes": true, "decides": "scopes", "dry_run": true }),
            "passes, though `scopes` would refuse it: this is a dry run",
        );
        check(
            &json!({ "passes": false, "status": 410, "dry_run": false }),
            "the gateway itself answers with 410",
        );
        let limits = json!([{ "limit": "a", "passes": true }, { "limit": "b", "passes": false }]);
        check(
            &json!({ "passes": false, "status": 429, "dry_run": false, "limits": limits }),
            "429 by the limit `b`",
        );
    }
}
