//! Who may write what: as Consul has it, an instance and its checks by the rule for its service,
//! everything else on a node by the rule for the node. Reading is filtered where answers are made.

use super::App;
use super::ask::Ask;
use super::reply::Fault;
use crate::access::Kind;
use crate::state::{self, CheckId, Instance, InstanceId, NewCheck, NodeName, NodeRef};

type Right = Result<(), Fault>;

/// To register an instance: also in place of one of another service.
pub(crate) fn to_register(app: &App, ask: &Ask, node: &NodeName, instance: &Instance) -> Right {
    ask.must_write(Kind::Service, instance.service.as_str())?;
    to_write_instance(app, ask, node, &instance.id)
}

/// To change or deregister an instance. One that is not there is nobody's.
pub(crate) fn to_write_instance(app: &App, ask: &Ask, node: &NodeName, id: &InstanceId) -> Right {
    let service = service_of(app, node, id);
    service.map_or(Ok(()), |service| ask.must_write(Kind::Service, &service))
}

/// To register a check.
pub(crate) fn to_register_check(app: &App, ask: &Ask, node: &NodeName, check: &NewCheck) -> Right {
    let instance = check.definition.instance.as_ref();
    match instance.and_then(|id| service_of(app, node, id)) {
        Some(service) => ask.must_write(Kind::Service, &service)?,
        None if instance.is_none() => ask.must_write(Kind::Node, node.as_str())?,
        // It will be refused for want of the instance, or comes with it.
        None => {}
    }
    let id = &check.definition.id;
    let is_there = app.peek(|state| state.check(node, id).is_some());
    if is_there { to_write_check(app, ask, node, id) } else { Ok(()) }
}

/// To change or deregister a check.
pub(crate) fn to_write_check(app: &App, ask: &Ask, node: &NodeName, id: &CheckId) -> Right {
    let about = app.peek(|state| {
        let check = state.check(node, id)?;
        check.value.definition.instance.clone()
    });
    match about.and_then(|about| service_of(app, node, &about)) {
        Some(service) => ask.must_write(Kind::Service, &service),
        None => ask.must_write(Kind::Node, node.as_str()),
    }
}

/// To set a node, unless it is as it is set to.
pub(crate) fn to_set_node(app: &App, ask: &Ask, node: &NodeRef) -> Right {
    let NodeRef::Set(node) = node else { return Ok(()) };
    let is_so = |known: state::NodeView| known.node.value == *node;
    if app.peek(|state| state.node(&node.name).is_some_and(is_so)) {
        return Ok(());
    }
    ask.must_write(Kind::Node, node.name.as_str())
}

fn service_of(app: &App, node: &NodeName, id: &InstanceId) -> Option<String> {
    app.peek(|state| Some(state.instance(node, id)?.instance.value.service.to_string()))
}
