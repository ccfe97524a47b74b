//! `/v1/txn`: several operations, of which all happen or none.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::App;
use super::ask::Ask;
use super::body::Value;
use super::input::{CatalogCheck, ServiceInput};
use super::kv::{EntryJson, check_length};
use super::reply::{self, Answer, Fault};
use super::{rights, wire};
use crate::access::Kind;
use crate::error::Error;
use crate::state::kv::{Version, When, Write};
use crate::state::txn::{Failure, Found, MAX_OPS, Op, Verb};
use crate::state::{self, Command, Key, Node, Reply, SessionId};

/// One operation: the first of the four that is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct OpInput {
    #[serde(rename = "KV")]
    kv: Option<KvInput>,
    node: Option<NodeOpInput>,
    service: Option<ServiceOpInput>,
    check: Option<CheckOpInput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct KvInput {
    verb: String,
    key: String,
    value: String,
    flags: u64,
    index: u64,
    session: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeOpInput {
    verb: String,
    node: NodeInput,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeInput {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    tagged_addresses: BTreeMap<String, String>,
    meta: BTreeMap<String, String>,
    modify_index: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ServiceOpInput {
    verb: String,
    node: String,
    service: ServiceInput,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CheckOpInput {
    verb: String,
    check: CatalogCheck,
}

impl OpInput {
    fn op(self, max_value: u64) -> Result<Op, Fault> {
        if let Some(kv) = self.kv {
            kv.op(max_value)
        } else if let Some(NodeOpInput { verb: word, node }) = self.node {
            let Some(verb) = verb(&word, node.modify_index) else {
                return Ok(unknown("Node", &word));
            };
            if node.node.is_empty() && node.id.is_empty() {
                return Ok(Op::Invalid("Must provide node".into()));
            }
            Ok(Op::Node(verb, node.node()))
        } else if let Some(ServiceOpInput { verb: word, node, mut service }) = self.service {
            let Some(verb) = verb(&word, service.modify_index) else {
                return Ok(unknown("Service", &word));
            };
            let name = std::mem::take(&mut service.service);
            let writes = matches!(verb, Verb::Set | Verb::Cas(_));
            if writes && name.is_empty() {
                return Ok(Op::Invalid("Must provide service name (Service.Service)".into()));
            }
            Ok(Op::Service(verb, node.into(), Box::new(service.instance(name)?)))
        } else if let Some(CheckOpInput { verb: word, mut check }) = self.check {
            let Some(verb) = verb(&word, check.modify_index) else {
                return Ok(unknown("Check", &word));
            };
            let node = std::mem::take(&mut check.node);
            Ok(Op::Check(verb, node.into(), Box::new(check.check()?)))
        } else {
            Ok(Op::Invalid("no operation specified".into()))
        }
    }
}

impl KvInput {
    fn op(self, max_value: u64) -> Result<Op, Fault> {
        let Self { verb, key, value, flags, index, session } = self;
        let key = Key::from(key);
        check_length(&key)?;
        if key.as_str().is_empty() && !matches!(verb.as_str(), "delete-tree" | "get-tree") {
            return Ok(Op::Invalid("Must provide key".into()));
        }
        let value = STANDARD.decode(&value).map_err(|error| {
            Fault::bad(format!("Failed to parse body: failed to decode value of {key:?}: {error}"))
        })?;
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if length > max_value {
            let text = format!("Value for key {key:?} is too large ({length} > {max_value} bytes)");
            return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let owner = || Some(SessionId::from(session.as_str())).filter(|_| !session.is_empty());
        let version = Version::new(index);
        let when = match verb.as_str() {
            "set" => When::Always,
            "cas" => When::Unchanged(version),
            "lock" | "unlock" if session.is_empty() => {
                return Ok(Op::Invalid("missing session".into()));
            }
            "lock" => When::Acquire(session.into()),
            "unlock" => When::Release(session.into()),
            "delete" => return Ok(Op::Write(Write::Delete { key, when: None })),
            "delete-cas" => return Ok(Op::Write(Write::Delete { key, when: Some(version) })),
            "delete-tree" => return Ok(Op::Write(Write::DeleteTree { prefix: key })),
            "get" => return Ok(Op::Get(key)),
            "get-or-empty" => return Ok(Op::GetOrEmpty(key)),
            "get-tree" => return Ok(Op::GetTree(key)),
            "check-index" => return Ok(Op::CheckIndex(key, version)),
            "check-session" => return Ok(Op::CheckSession(key, owner())),
            "check-not-exists" => return Ok(Op::CheckNotExists(key)),
            other => return Ok(unknown("KV", other)),
        };
        Ok(Op::Write(Write::Set { key, value: value.into(), flags, when }))
    }
}

impl NodeInput {
    fn node(self) -> Node {
        Node {
            name: self.node.into(),
            id: self.id,
            address: self.address,
            tagged_addresses: self.tagged_addresses,
            meta: self.meta,
        }
    }
}

fn verb(word: &str, index: u64) -> Option<Verb> {
    Some(match word {
        "get" => Verb::Get,
        "set" => Verb::Set,
        "cas" => Verb::Cas(Version::new(index)),
        "delete" => Verb::Delete,
        "delete-cas" => Verb::DeleteCas(Version::new(index)),
        _ => return None,
    })
}

fn unknown(what: &str, verb: &str) -> Op {
    Op::Invalid(format!("unknown {what} verb {verb:?}"))
}

/// An operation that failed, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct FailureJson {
    op_index: usize,
    what: String,
}

pub(crate) async fn transact(State(app): State<App>, ask: Ask, body: Value) -> Answer {
    let input: Vec<OpInput> = body.json()?;
    if input.len() > MAX_OPS {
        let text =
            format!("Transaction contains too many operations ({} > {MAX_OPS})", input.len());
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let max_value = app.config().limits.kv_value.0;
    let ops = input.into_iter().map(|op| op.op(max_value)).collect::<Result<Vec<_>, _>>()?;
    let denied: Vec<_> = ops
        .iter()
        .enumerate()
        .filter_map(|(number, op)| {
            let what = may(&app, &ask, op).err()?.text();
            Some(FailureJson { op_index: number, what })
        })
        .collect();
    if !denied.is_empty() {
        return Ok(rolled_back(&ask, &denied));
    }
    let reads_only = !ops.iter().any(Op::writes);
    let carried_out = if reads_only {
        let (found, _) = app.read(|state| (state.look(ops.clone()), state.index())).await?;
        found
    } else {
        match app.command(Command::Transact(ops)).await {
            Ok(Reply::Txn(found)) => Ok(found),
            Ok(Reply::Done) => Ok(Vec::new()),
            Err(Error::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(error.into()),
        }
    };
    match carried_out {
        Ok(found) => {
            let found = found.iter().filter(|found| sees(&ask, found));
            let results: Vec<_> = found.map(|found| shown(found, &app)).collect();
            let mut answer = reply::json(&ask, &json!({ "Results": results, "Errors": null }));
            if reads_only {
                reply::describe_consistency(answer.headers_mut(), &ask);
            }
            Ok(answer)
        }
        Err(state::Refusal::Txn(failures)) => {
            let failures = failures
                .into_iter()
                .map(|Failure { op, why }| FailureJson { op_index: op, what: why.to_string() });
            Ok(rolled_back(&ask, &failures.collect::<Vec<_>>()))
        }
        Err(other) => Err(Error::from(other).into()),
    }
}

fn rolled_back(ask: &Ask, failures: &[FailureJson]) -> Response {
    let body = reply::json(ask, &json!({ "Results": null, "Errors": failures }));
    (StatusCode::CONFLICT, body).into_response()
}

/// Whether the bearer may ask for an operation. What only reads is left out of the answer instead.
fn may(app: &App, ask: &Ask, op: &Op) -> Result<(), Fault> {
    match op {
        Op::Get(_) | Op::GetOrEmpty(_) | Op::GetTree(_) | Op::Invalid(_) => Ok(()),
        Op::Node(Verb::Get, _) | Op::Service(Verb::Get, ..) | Op::Check(Verb::Get, ..) => Ok(()),
        Op::CheckIndex(key, _) | Op::CheckSession(key, _) | Op::CheckNotExists(key) => {
            ask.must_read(Kind::Key, key.as_str())
        }
        Op::Write(Write::DeleteTree { prefix }) => ask.must_write_below(Kind::Key, prefix.as_str()),
        Op::Write(Write::Set { key, .. } | Write::Delete { key, .. }) => {
            ask.must_write(Kind::Key, key.as_str())
        }
        Op::Node(_, node) => ask.must_write(Kind::Node, node.name.as_str()),
        Op::Service(Verb::Set | Verb::Cas(_), node, instance) => {
            rights::to_register(app, ask, node, instance)
        }
        Op::Service(_, node, instance) => rights::to_write_instance(app, ask, node, &instance.id),
        Op::Check(Verb::Set | Verb::Cas(_), node, check) => {
            rights::to_register_check(app, ask, node, check)
        }
        Op::Check(_, node, check) => rights::to_write_check(app, ask, node, &check.definition.id),
    }
}

fn sees(ask: &Ask, found: &Found) -> bool {
    match found {
        Found::Key(stored) | Found::Written(stored) => {
            ask.sees(Kind::Key, stored.value.key.as_str())
        }
        Found::NoKey(key) => ask.sees(Kind::Key, key.as_str()),
        Found::Node(node) => ask.sees(Kind::Node, node.value.name.as_str()),
        Found::Service(stored) => ask.sees(Kind::Service, stored.value.service.as_str()),
        Found::Check(view) => ask.sees_check(view),
    }
}

fn shown(found: &Found, app: &App) -> Json {
    match found {
        Found::Key(stored) => json!({ "KV": EntryJson::new(stored) }),
        Found::Written(stored) => json!({ "KV": EntryJson::without_value(stored) }),
        Found::NoKey(key) => json!({ "KV": EntryJson::absent(key) }),
        Found::Node(node) => json!({ "Node": wire::node(node, &app.config().datacenter) }),
        Found::Service(stored) => json!({ "Service": wire::service(stored) }),
        Found::Check(view) => json!({ "Check": wire::check(view) }),
    }
}
