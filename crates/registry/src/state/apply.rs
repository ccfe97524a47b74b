//! Events into state. Cannot fail: an event that fits nothing changes nothing.
//!
//! All events of one command share one index. Every topic that an event touches takes that index,
//! and its watchers are woken, once.

use std::sync::Arc;

use posthouse_base::time::Timestamp;

use super::command::{Effect, Event, Topic, Touched};
use super::model::{
    Check, CheckDefinition, CheckId, CheckKind, Index, Instance, InstanceId, Node, NodeName,
    ServiceName, Status, Stored,
};
use super::{Deadline, Due, InstanceEntry, MAX_TOMBSTONES, NodeEntry, ServiceEntry, State};

/// What a step gathers while its events are applied.
pub(super) struct Step {
    pub(super) index: Index,
    pub(super) touched: Touched,
    pub(super) effects: Vec<Effect>,
}

impl State {
    /// Makes `events`, those of one command, have happened. Returns what must be done about them.
    pub fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        let index = self.index.next();
        let (moved, effects) = self.apply_at(events, index);
        self.index = moved.unwrap_or(self.index);
        effects
    }

    /// Makes `events`, those of one command, happen again as they did, after which the index was
    /// `index`.
    pub fn replay(&mut self, events: &[Event], index: Index) {
        let _carried_out = self.apply_at(events, index);
        self.index = index;
    }

    /// Returns the index that the events took, if they took one.
    fn apply_at(&mut self, events: &[Event], index: Index) -> (Option<Index>, Vec<Effect>) {
        let mut step = Step { index, touched: Touched::new(), effects: Vec::new() };
        let mut takes_index = false;
        for event in events {
            takes_index |= matches!(event, Event::Began { .. });
            self.apply_one(event, &mut step);
        }
        takes_index |= !step.touched.is_empty();
        for topic in &step.touched {
            self.move_index(topic, step.index);
        }
        let mut effects = step.effects;
        effects.extend(step.touched.into_iter().map(Effect::Wake));
        (takes_index.then_some(step.index), effects)
    }

    fn apply_one(&mut self, event: &Event, step: &mut Step) {
        match event {
            Event::Began { own, start } => self.began(own, *start, step),
            Event::NodeSet(node) => self.node_set(node, step),
            Event::NodeRemoved(name) => self.node_removed(name, step),
            Event::InstanceSet { node, instance } => self.instance_set(node, instance, step),
            Event::InstanceRemoved { node, id, .. } => self.instance_removed(node, id, step),
            Event::CheckSet { node, definition, status, output, at } => {
                self.check_set(node, definition, (*status, output), *at, step);
            }
            Event::CheckRemoved { node, id } => self.check_removed(node, id, step),
            Event::StatusChanged { node, id, status, output, at } => {
                self.change_check(node, id, Some(step), |check| {
                    check.turn(*status, *at);
                    check.output.clone_from(output);
                });
            }
            Event::Expired { node, id, output, at } => {
                let news = self
                    .check(node, id)
                    .is_some_and(|known| known.value.status != Status::Critical);
                self.change_check(node, id, news.then_some(step), |check| {
                    check.turn(Status::Critical, *at);
                    check.output.clone_from(output);
                    check.expires = None;
                });
            }
            Event::OutputChanged { node, id, output } => {
                self.change_check(node, id, None, |check| check.output.clone_from(output));
            }
            Event::Renewed { node, id, expires } => {
                self.change_check(node, id, None, |check| check.expires = Some(*expires));
            }
            Event::Kv(event) => self.apply_kv(event, step),
            Event::Session(event) => self.apply_session(event, step),
            Event::UserEvent(event) => self.apply_user_event(event, step),
        }
    }

    fn began(&mut self, own: &NodeName, start: Index, step: &mut Step) {
        step.index = step.index.max(start);
        if self.own.as_str().is_empty() {
            self.services_index = step.index;
            self.nodes_index = step.index;
            self.checks_index = step.index;
            self.floor = step.index;
            self.kv.floor = step.index;
            self.sessions.index = step.index;
        }
        self.own = own.clone();
    }

    fn node_set(&mut self, node: &Node, step: &mut Step) {
        let created = match self.nodes.get_mut(&node.name) {
            Some(known) => {
                if known.node.value.meta != node.meta && !known.instances.is_empty() {
                    step.touched.insert(Topic::Services); // it may be selected by node-meta
                }
                known.node.created
            }
            None => {
                self.node_count += 1;
                step.index
            }
        };
        let stored = Stored { value: node.clone(), created, modified: step.index };
        let stored = Arc::new(stored);
        self.nodes
            .entry(node.name.clone())
            .and_modify(|entry| entry.node = Arc::clone(&stored))
            .or_insert_with(|| NodeEntry {
                node: stored,
                index: step.index,
                instances: Default::default(),
                checks: Default::default(),
                node_checks: Default::default(),
            });
        step.touched.insert(Topic::Nodes);
        self.touch_node(&node.name, step);
    }

    fn node_removed(&mut self, name: &NodeName, step: &mut Step) {
        if self.nodes.remove(name).is_some() {
            self.node_count -= 1;
            step.touched.extend([Topic::Nodes, Topic::Node(name.clone())]);
        }
    }

    fn instance_set(&mut self, name: &NodeName, instance: &Instance, step: &mut Step) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let known = node.instances.get(&instance.id).map(|entry| Arc::clone(&entry.instance));
        let created = known.as_ref().map_or(step.index, |known| known.created);
        let stored = Arc::new(Stored { value: instance.clone(), created, modified: step.index });
        node.instances
            .entry(instance.id.clone())
            .and_modify(|entry| entry.instance = Arc::clone(&stored))
            .or_insert_with(|| InstanceEntry { instance: stored, checks: Default::default() });
        let same_in_list = known.as_ref().is_some_and(|known| {
            known.value.service == instance.service && known.value.tags == instance.tags
        });
        if !same_in_list {
            step.touched.insert(Topic::Services);
        }
        match known {
            None => self.instance_count += 1,
            Some(known) if known.value.service != instance.service => {
                self.leave_service(&known.value.service, name, &instance.id, step);
            }
            Some(_) => {}
        }
        let index = step.index;
        let service = self.services.entry(instance.service.clone());
        let service =
            service.or_insert_with(|| ServiceEntry { index, instances: Default::default() });
        service.instances.insert((name.clone(), instance.id.clone()));
        self.tombstones.remove(&instance.service);
        step.touched.extend([self.topic_of(&instance.service), Topic::Node(name.clone())]);
    }

    fn instance_removed(&mut self, name: &NodeName, id: &InstanceId, step: &mut Step) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(gone) = node.instances.remove(id) else { return };
        self.instance_count -= 1;
        step.touched.extend([Topic::Services, Topic::Node(name.clone())]);
        self.leave_service(&gone.instance.value.service, name, id, step);
    }

    fn leave_service(
        &mut self,
        service: &ServiceName,
        node: &NodeName,
        id: &InstanceId,
        step: &mut Step,
    ) {
        step.touched.insert(self.topic_of(service));
        let Some(entry) = self.services.get_mut(service) else { return };
        entry.instances.remove(&(node.clone(), id.clone()));
        if entry.instances.is_empty() {
            self.services.remove(service);
            if self.tombstones.len() >= MAX_TOMBSTONES {
                self.tombstones.clear();
                self.floor = step.index;
            }
            self.tombstones.insert(service.clone(), step.index);
        }
    }

    fn check_set(
        &mut self,
        name: &NodeName,
        definition: &CheckDefinition,
        (status, output): (Status, &str),
        at: Timestamp,
        step: &mut Step,
    ) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let owned = match &definition.instance {
            None => &mut node.node_checks,
            Some(instance) => match node.instances.get_mut(instance) {
                Some(entry) => &mut entry.checks,
                None => return,
            },
        };
        owned.insert(definition.id.clone());
        let known = node.checks.get(&definition.id).cloned();
        let critical_since = known.as_ref().and_then(|known| known.value.critical_since);
        let mut check = Check {
            definition: definition.clone(),
            status: known.as_ref().map_or(Status::Passing, |known| known.value.status),
            output: output.into(),
            critical_since,
            expires: None,
            run: step.index,
        };
        check.turn(status, at);
        if let CheckKind::Ttl(ttl) = definition.kind {
            check.expires = Some(at.plus(ttl));
        }
        match &known {
            Some(known) => self.call_off(name, &known.value),
            None => self.check_count += 1,
        }
        self.schedule(name, &check);
        self.probe_as_needed(name, known.as_ref().map(|known| &known.value), &check, step);
        let created = known.map_or(step.index, |known| known.created);
        let stored = Arc::new(Stored { value: check, created, modified: step.index });
        if let Some(node) = self.nodes.get_mut(name) {
            node.checks.insert(definition.id.clone(), stored);
        }
        self.touch_check(name, definition.instance.as_ref(), step);
    }

    fn check_removed(&mut self, name: &NodeName, id: &CheckId, step: &mut Step) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(gone) = node.checks.remove(id) else { return };
        let instance = gone.value.definition.instance.as_ref();
        match instance.map(|instance| node.instances.get_mut(instance)) {
            None => drop(node.node_checks.remove(id)),
            Some(Some(entry)) => drop(entry.checks.remove(id)),
            Some(None) => {}
        }
        self.check_count -= 1;
        self.call_off(name, &gone.value);
        if matches!(gone.value.definition.kind, CheckKind::Probe(_)) {
            step.effects.push(Effect::StopProbing { node: name.clone(), id: id.clone() });
        }
        self.touch_check(name, instance, step);
    }

    /// Changes a check in place. With a `step` the change is news to watchers.
    fn change_check(
        &mut self,
        name: &NodeName,
        id: &CheckId,
        step: Option<&mut Step>,
        change: impl FnOnce(&mut Check),
    ) {
        let Some(known) = self.check(name, id).cloned() else { return };
        let mut check = known.value.clone();
        change(&mut check);
        self.call_off(name, &known.value);
        self.schedule(name, &check);
        let instance = check.definition.instance.clone();
        let modified = step.as_ref().map_or(known.modified, |step| step.index);
        let stored = Arc::new(Stored { value: check, created: known.created, modified });
        if let Some(node) = self.nodes.get_mut(name) {
            node.checks.insert(id.clone(), stored);
        }
        if let Some(step) = step {
            self.touch_check(name, instance.as_ref(), step);
        }
    }

    fn probe_as_needed(&self, node: &NodeName, old: Option<&Check>, new: &Check, step: &mut Step) {
        let id = new.definition.id.clone();
        let node = node.clone();
        match &new.definition.kind {
            CheckKind::Probe(probe) => {
                let probe = probe.clone();
                step.effects.push(Effect::StartProbing { node, id, run: new.run, probe });
            }
            _ if old.is_some_and(|old| matches!(old.definition.kind, CheckKind::Probe(_))) => {
                step.effects.push(Effect::StopProbing { node, id });
            }
            _ => {}
        }
    }

    fn touch_check(&self, node: &NodeName, instance: Option<&InstanceId>, step: &mut Step) {
        step.touched.insert(Topic::Checks);
        let Some(instance) = instance else { return self.touch_node(node, step) };
        step.touched.insert(Topic::Node(node.clone()));
        let entry = self.nodes.get(node).and_then(|node| node.instances.get(instance));
        step.touched.extend(entry.map(|entry| self.topic_of(&entry.instance.value.service)));
    }

    /// A node's address and its checks are a part of every service on it.
    fn touch_node(&self, name: &NodeName, step: &mut Step) {
        step.touched.insert(Topic::Node(name.clone()));
        let instances = self.nodes.get(name).into_iter().flat_map(|node| node.instances.values());
        step.touched.extend(instances.map(|entry| self.topic_of(&entry.instance.value.service)));
    }

    /// A service's topic, named as its first instance wrote it: followers tell services apart by it.
    fn topic_of(&self, service: &ServiceName) -> Topic {
        let known = self.services.get_key_value(service);
        Topic::Service(known.map_or(service, |(name, _)| name).clone())
    }

    fn move_index(&mut self, topic: &Topic, index: Index) {
        match topic {
            Topic::Service(name) => {
                if let Some(service) = self.services.get_mut(name) {
                    service.index = index;
                }
            }
            Topic::Node(name) => {
                if let Some(node) = self.nodes.get_mut(name) {
                    node.index = index;
                }
            }
            Topic::Services => self.services_index = index,
            Topic::Nodes => self.nodes_index = index,
            Topic::Checks => self.checks_index = index,
            Topic::Sessions => self.sessions.index = index,
            Topic::SessionsOf(node) => {
                if let Some(of_node) = self.sessions.by_node.get_mut(node) {
                    of_node.index = index;
                }
            }
            // Those have the index of what is stored, or of its tombstone.
            Topic::Key(_) | Topic::Folder(_) | Topic::Session(_) | Topic::UserEvents => {}
        }
    }

    pub(super) fn schedule(&mut self, node: &NodeName, check: &Check) {
        self.deadlines.extend(deadlines(node, check, self.reap_from));
    }

    fn call_off(&mut self, node: &NodeName, check: &Check) {
        for deadline in deadlines(node, check, self.reap_from) {
            self.deadlines.remove(&deadline);
        }
    }
}

impl Check {
    fn turn(&mut self, status: Status, at: Timestamp) {
        self.status = status;
        self.critical_since = match status {
            Status::Critical => self.critical_since.or(Some(at)),
            Status::Passing | Status::Warning => None,
        };
    }
}

/// Every deadline that a check standing as it does has.
fn deadlines(
    node: &NodeName,
    check: &Check,
    reap_from: Timestamp,
) -> impl Iterator<Item = Deadline> {
    let definition = &check.definition;
    let reaps = definition.instance.as_ref().and(definition.deregister_after);
    let reap = check.critical_since.zip(reaps);
    let reap = reap.map(|(since, after)| since.plus(after).max(reap_from));
    let due = |at: Option<Timestamp>, what| {
        let (node, check) = (node.clone(), definition.id.clone());
        at.map(|at| Deadline { at, node, check, what })
    };
    due(check.expires, Due::Expire).into_iter().chain(due(reap, Due::Reap))
}
