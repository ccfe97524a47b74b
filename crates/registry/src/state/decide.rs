//! Commands into events. Reads the state and never changes it: whatever follows from an event is
//! done when it is applied.

use std::collections::BTreeSet;

use posthouse_base::time::Timestamp;

use super::command::{Cause, Command, Decided, Event, NewCheck, NodeRef, Refusal, Registration};
use super::model::{
    Check, CheckDefinition, CheckId, CheckKind, Index, InstanceId, Node, NodeName, Status,
};
use super::{Due, MEMBERSHIP_CHECK, NodeEntry, State};

/// Deadlines that one tick sees to. The next follows at once; what one command does stays small.
const MAX_DUE: usize = 1024;

type Decision = Result<Vec<Event>, Refusal>;

impl State {
    /// What `command` comes to at the time `now`; no events when it changes nothing.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<Decided, Refusal> {
        let mut events = match command {
            Command::Transact(ops) => return self.decide_txn(ops, now),
            Command::Open { own, start } => Ok(self.open(own, start, now)),
            Command::SetNode(node) => self.set_node(node),
            Command::RemoveNode(name) => self.remove_node(&name),
            Command::Register(registration) => self.register(*registration, now),
            Command::Deregister { node, id, cause } => self.deregister(&node, &id, cause),
            Command::RegisterCheck { node, check } => self.register_check(&node, check, now),
            Command::DeregisterCheck { node, id } => self.deregister_check(node, id),
            Command::Heartbeat { node, id, status, output } => {
                self.heartbeat(&node, &id, (status, output), now)
            }
            Command::Probed { node, id, run, status, output } => {
                Ok(self.probed(&node, &id, run, (status, output), now))
            }
            Command::Maintain { node, instance, reason } => {
                self.maintain(&node, instance, reason, now)
            }
            Command::Kv(write) => {
                Ok(self.decide_kv(write, now)?.map(Event::Kv).into_iter().collect())
            }
            Command::Session(ask) => {
                Ok(self.decide_session(ask, now)?.map(Event::Session).into_iter().collect())
            }
            Command::Fire(event) => {
                Ok(self.decide_user_event(event)?.map(Event::UserEvent).into_iter().collect())
            }
            Command::Tick => Ok(self.tick(now)),
        }?;
        events.extend(self.ended_by(&events, now));
        Ok(events.into())
    }

    fn open(&self, own: Node, start: Index, now: Timestamp) -> Vec<Event> {
        let known = self.nodes.get(&self.own);
        let id = known.map_or_else(|| own.id.clone(), |known| known.node.value.id.clone());
        let own = Node { id, ..own };
        let name = own.name.clone();
        let mut events = vec![Event::Began { own: name.clone(), start }];
        if self.nodes.get(&name).is_none_or(|known| known.node.value != own) {
            events.push(Event::NodeSet(own));
        }
        if self.check(&name, &MEMBERSHIP_CHECK.into()).is_none() {
            events.push(membership(name.clone(), now));
        }
        if self.own != name {
            events.extend(known.into_iter().flat_map(|from| self.move_over(from, &name, now)));
        }
        events
    }

    /// Whatever is on `from`, on the node `to` instead. Checks stand as they stood.
    fn move_over(&self, from: &NodeEntry, to: &NodeName, now: Timestamp) -> Vec<Event> {
        let name = &from.node.value.name;
        let instances = from.instances.values().map(|entry| entry.instance.value.clone());
        let set = instances.map(|instance| Event::InstanceSet { node: to.clone(), instance });
        let checks = from.checks.values().map(|check| &check.value);
        let checks = checks.filter(|check| check.definition.kind != CheckKind::Membership);
        let checks = checks.map(|check| Event::CheckSet {
            node: to.clone(),
            definition: check.definition.clone(),
            status: check.status,
            output: check.output.clone(),
            at: check.critical_since.unwrap_or(now),
        });
        set.chain(checks).chain(self.removal(name, from)).collect()
    }

    /// Everything on a node, and then the node, goes.
    fn removal(&self, name: &NodeName, known: &NodeEntry) -> Vec<Event> {
        let mut events = Vec::new();
        for id in known.instances.keys() {
            events.extend(self.deregister(name, id, Cause::Asked).unwrap_or_default());
        }
        events.extend(known.node_checks.iter().map(|id| removed(name, id)));
        events.push(Event::NodeRemoved(name.clone()));
        events
    }

    fn set_node(&self, node: Node) -> Decision {
        match self.nodes.get(&node.name) {
            // The registry's own node is as configured, whatever a client believes of it.
            Some(_) if node.name == self.own => Ok(Vec::new()),
            Some(known) if known.node.value == node => Ok(Vec::new()),
            Some(_) => Ok(vec![Event::NodeSet(node)]),
            None => {
                within("nodes", self.node_count, 1, self.limits.nodes)?;
                Ok(vec![Event::NodeSet(node)])
            }
        }
    }

    fn remove_node(&self, name: &NodeName) -> Decision {
        if *name == self.own {
            return Err(Refusal::Own(name.to_string()));
        }
        let known = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode(name.clone()))?;
        Ok(self.removal(name, known))
    }

    fn register(&self, registration: Registration, now: Timestamp) -> Decision {
        let Registration { node, instance, checks, replace_checks } = registration;
        let name = node.name().clone();
        let mut events = match node {
            NodeRef::Set(node) => self.set_node(node)?,
            NodeRef::Known(name) if self.nodes.contains_key(&name) => Vec::new(),
            NodeRef::Known(name) => return Err(Refusal::UnknownNode(name)),
        };
        let own = |check: &&NewCheck| {
            self.kind(&name, &check.definition.id) == Some(&CheckKind::Membership)
        };
        if let Some(check) = checks.iter().find(own) {
            return Err(Refusal::Own(check.definition.id.to_string()));
        }
        let known = self.nodes.get(&name).and_then(|node| node.instances.get(&instance.id));
        if known.is_none() {
            within("instances", self.instance_count, 1, self.limits.instances)?;
        }
        let is_new = |check: &&NewCheck| self.check(&name, &check.definition.id).is_none();
        let new_checks = checks.iter().filter(is_new).count();
        within("checks", self.check_count, new_checks, self.limits.checks)?;

        if known.is_none_or(|known| known.instance.value != instance) {
            events.push(Event::InstanceSet { node: name.clone(), instance });
        }
        if replace_checks && let Some(known) = known {
            let kept: BTreeSet<_> = checks.iter().map(|check| &check.definition.id).collect();
            let gone = known.checks.iter().filter(|id| !kept.contains(id));
            // Maintenance is an operator's word, not a part of the registration.
            let gone = gone.filter(|id| self.kind(&name, id) != Some(&CheckKind::Maintenance));
            events.extend(gone.map(|id| removed(&name, id)));
        }
        for check in checks {
            // Registering a running instance again must not make it critical until its next check,
            // so the status that it has wins; but a status in the catalog is what its writer says.
            let status_stays = !matches!(check.definition.kind, CheckKind::External(_));
            events.extend(self.set_check(&name, check, status_stays, now));
        }
        Ok(events)
    }

    fn deregister(&self, node: &NodeName, id: &InstanceId, cause: Cause) -> Decision {
        let unknown = || Refusal::UnknownInstance(id.clone());
        let known = self.nodes.get(node).and_then(|node| node.instances.get(id));
        let known = known.ok_or_else(unknown)?;
        let mut events: Vec<_> = known.checks.iter().map(|check| removed(node, check)).collect();
        events.push(Event::InstanceRemoved { node: node.clone(), id: id.clone(), cause });
        Ok(events)
    }

    fn register_check(&self, node: &NodeName, check: NewCheck, now: Timestamp) -> Decision {
        let known = self.nodes.get(node).ok_or_else(|| Refusal::UnknownNode(node.clone()))?;
        if let Some(instance) = &check.definition.instance
            && !known.instances.contains_key(instance)
        {
            return Err(Refusal::NoInstanceToCheck(instance.clone()));
        }
        if !known.checks.contains_key(&check.definition.id) {
            within("checks", self.check_count, 1, self.limits.checks)?;
        }
        if self.kind(node, &check.definition.id) == Some(&CheckKind::Membership) {
            return Err(Refusal::Own(check.definition.id.to_string()));
        }
        Ok(self.set_check(node, check, false, now))
    }

    fn set_check(
        &self,
        node: &NodeName,
        check: NewCheck,
        status_stays: bool,
        now: Timestamp,
    ) -> Vec<Event> {
        let NewCheck { definition, status, output } = check;
        let known = self.check(node, &definition.id).map(|stored| &stored.value);
        let Some(known) = known else {
            let status = status.unwrap_or_default();
            let node = node.clone();
            return vec![Event::CheckSet { node, definition, status, output, at: now }];
        };
        let status = if status_stays { known.status } else { status.unwrap_or(known.status) };
        let output = if output.is_empty() { known.output.clone() } else { output };
        if known.definition == definition {
            return self.stands(node, known, (Some(status), output), now).renewed(node, known, now);
        }
        let mut events = Vec::new();
        if known.definition.instance != definition.instance {
            events.push(removed(node, &definition.id));
        }
        let node = node.clone();
        events.push(Event::CheckSet { node, definition, status, output, at: now });
        events
    }

    fn deregister_check(&self, node: NodeName, id: CheckId) -> Decision {
        match self.kind(&node, &id) {
            None => Err(Refusal::UnknownCheck(id)),
            Some(CheckKind::Membership) => Err(Refusal::Own(id.to_string())),
            Some(_) => Ok(vec![Event::CheckRemoved { node, id }]),
        }
    }

    fn heartbeat(
        &self,
        node: &NodeName,
        id: &CheckId,
        (status, output): (Status, String),
        now: Timestamp,
    ) -> Decision {
        let known = self.check(node, id).ok_or_else(|| Refusal::UnknownCheck(id.clone()))?;
        let known = &known.value;
        match known.definition.kind {
            CheckKind::Ttl(_) => {
                Ok(self.stands(node, known, (Some(status), output), now).renewed(node, known, now))
            }
            _ => Err(Refusal::NotTtl(id.clone())),
        }
    }

    fn probed(
        &self,
        node: &NodeName,
        id: &CheckId,
        run: Index,
        (status, output): (Option<Status>, String),
        now: Timestamp,
    ) -> Vec<Event> {
        match self.check(node, id).map(|stored| &stored.value) {
            Some(known) if known.run == run => self.stands(node, known, (status, output), now),
            // The check was replaced or removed while the probe was on its way.
            _ => Vec::new(),
        }
    }

    /// What it takes for a check to stand as given; `None` leaves its status as it is.
    fn stands(
        &self,
        node: &NodeName,
        known: &Check,
        (status, output): (Option<Status>, String),
        now: Timestamp,
    ) -> Vec<Event> {
        let (node, id) = (node.clone(), known.definition.id.clone());
        match status {
            Some(status) if status != known.status => {
                vec![Event::StatusChanged { node, id, status, output, at: now }]
            }
            _ if output != known.output => vec![Event::OutputChanged { node, id, output }],
            _ => Vec::new(),
        }
    }

    fn maintain(
        &self,
        node: &NodeName,
        instance: Option<InstanceId>,
        reason: Option<String>,
        now: Timestamp,
    ) -> Decision {
        let known = self.nodes.get(node).ok_or_else(|| Refusal::UnknownNode(node.clone()))?;
        if let Some(id) = &instance
            && !known.instances.contains_key(id)
        {
            return Err(Refusal::UnknownInstance(id.clone()));
        }
        let (id, name) = match &instance {
            Some(id) => (format!("_service_maintenance:{id}"), "Service Maintenance Mode"),
            None => ("_node_maintenance".to_owned(), "Node Maintenance Mode"),
        };
        let id = CheckId::from(id);
        let Some(notes) = reason else {
            let is_on = known.checks.contains_key(&id);
            return Ok(if is_on { vec![removed(node, &id)] } else { Vec::new() });
        };
        let definition = CheckDefinition {
            id,
            name: name.into(),
            notes,
            instance,
            kind: CheckKind::Maintenance,
            deregister_after: None,
        };
        let status = Some(Status::Critical);
        let check = NewCheck { definition, status, output: String::new() };
        // No limit here: an operator must be able to take anything out of service at any time.
        Ok(self.set_check(node, check, false, now))
    }

    fn tick(&self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let mut reaped = BTreeSet::new();
        for deadline in self.deadlines.iter().take_while(|d| d.at <= now).take(MAX_DUE) {
            let Some(known) = self.check(&deadline.node, &deadline.check) else { continue };
            match deadline.what {
                Due::Expire => events.push(Event::Expired {
                    node: deadline.node.clone(),
                    id: deadline.check.clone(),
                    output: format!("TTL expired, last output: {}", last_output(&known.value)),
                    at: now,
                }),
                Due::Reap => {
                    let instance = known.value.definition.instance.clone();
                    reaped.extend(instance.map(|id| (deadline.node.clone(), id)));
                }
            }
        }
        for (node, id) in reaped {
            events.extend(self.deregister(&node, &id, Cause::Critical).unwrap_or_default());
        }
        events.extend(self.expired_sessions(now).take(MAX_DUE).map(Event::Session));
        events
    }

    fn kind(&self, node: &NodeName, id: &CheckId) -> Option<&CheckKind> {
        self.check(node, id).map(|check| &check.value.definition.kind)
    }
}

/// Adds what makes a TTL check begin its time anew.
trait Renewed {
    fn renewed(self, node: &NodeName, check: &Check, now: Timestamp) -> Self;
}

impl Renewed for Vec<Event> {
    fn renewed(mut self, node: &NodeName, check: &Check, now: Timestamp) -> Self {
        if let CheckKind::Ttl(ttl) = check.definition.kind {
            let (node, id) = (node.clone(), check.definition.id.clone());
            self.push(Event::Renewed { node, id, expires: now.plus(ttl) });
        }
        self
    }
}

/// The registry's own node is part of it.
fn membership(node: NodeName, now: Timestamp) -> Event {
    let definition = CheckDefinition {
        id: MEMBERSHIP_CHECK.into(),
        name: "Serf Health Status".into(),
        notes: String::new(),
        instance: None,
        kind: CheckKind::Membership,
        deregister_after: None,
    };
    let output = "Agent alive and reachable".into();
    Event::CheckSet { node, definition, status: Status::Passing, output, at: now }
}

fn removed(node: &NodeName, id: &CheckId) -> Event {
    Event::CheckRemoved { node: node.clone(), id: id.clone() }
}

/// A check that expires again and again must not pile up the words for it.
fn last_output(check: &Check) -> &str {
    let output = check.output.as_str();
    output.strip_prefix("TTL expired, last output: ").unwrap_or(output)
}

pub(super) const fn within(
    what: &'static str,
    present: usize,
    more: usize,
    limit: usize,
) -> Result<(), Refusal> {
    if present.saturating_add(more) > limit && more > 0 {
        Err(Refusal::Limit { what, limit })
    } else {
        Ok(())
    }
}
