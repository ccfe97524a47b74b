//! The state as a plain list of what is in it, to be kept and brought back, and how a registry goes
//! on that was away.
//!
//! Taking an image copies references only, so that it can be taken while the state is held. What
//! can be told from the rest (deadlines, counts, which instances a service has) is not in it.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;

use super::model::{
    Check, CheckKind, Index, Instance, Node, NodeName, ServiceName, Status, Stored,
};
use super::{InstanceEntry, Limits, NodeEntry, ServiceEntry, State, kv, session};

/// After the registry was away, whoever has to report or to recover has at least this long for it:
/// long enough to notice, to find the registry again, and for two probes of a check with a common
/// interval.
pub const GRACE: Duration = Duration::from_secs(20);

/// Everything that a state knows, in order of its names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name of the registry's own node.
    pub own: NodeName,
    /// The index of the last change.
    pub index: Index,
    /// That of the last change to which services there are.
    pub services_index: Index,
    /// That of the last change to which nodes there are.
    pub nodes_index: Index,
    /// That of the last change to any check.
    pub checks_index: Index,
    /// That of a service that never was.
    pub floor: Index,
    /// The nodes with what is on them.
    pub nodes: Vec<NodeImage>,
    /// The index of each service.
    pub services: Vec<(ServiceName, Index)>,
    /// The index of each service that is gone.
    pub tombstones: Vec<(ServiceName, Index)>,
    /// The keys.
    pub kv: kv::Image,
    /// The sessions.
    pub sessions: session::Image,
}

/// A node with what is on it.
#[derive(Clone, Debug)]
pub struct NodeImage {
    /// The node.
    pub node: Arc<Stored<Node>>,
    /// The index of the last change to anything on it.
    pub index: Index,
    /// Its instances.
    pub instances: Vec<Arc<Stored<Instance>>>,
    /// Its checks and those of its instances.
    pub checks: Vec<Arc<Stored<Check>>>,
}

impl State {
    /// Everything that is known.
    #[must_use]
    pub fn image(&self) -> Image {
        let nodes = self.nodes.values().map(|entry| NodeImage {
            node: Arc::clone(&entry.node),
            index: entry.index,
            instances: entry.instances.values().map(|i| Arc::clone(&i.instance)).collect(),
            checks: entry.checks.values().map(Arc::clone).collect(),
        });
        let services = self.services.iter().map(|(name, entry)| (name.clone(), entry.index));
        let tombstones = self.tombstones.iter().map(|(name, index)| (name.clone(), *index));
        Image {
            own: self.own.clone(),
            index: self.index,
            services_index: self.services_index,
            nodes_index: self.nodes_index,
            checks_index: self.checks_index,
            floor: self.floor,
            nodes: nodes.collect(),
            services: services.collect(),
            tombstones: tombstones.collect(),
            kv: self.kv.image(),
            sessions: self.sessions.image(),
        }
    }

    /// The state that an image was taken of. What fits nothing in it (a check without its instance)
    /// is left out.
    #[must_use]
    pub fn from_image(image: Image, limits: Limits) -> Self {
        let mut state = Self {
            own: image.own,
            index: image.index,
            services_index: image.services_index,
            nodes_index: image.nodes_index,
            checks_index: image.checks_index,
            floor: image.floor,
            tombstones: image.tombstones.into_iter().collect(),
            kv: kv::Store::from_image(image.kv),
            sessions: session::Sessions::from_image(image.sessions),
            ..Self::blank(limits)
        };
        let services = image.services.into_iter();
        state.services = services
            .map(|(name, index)| (name, ServiceEntry { index, instances: Default::default() }))
            .collect();
        image.nodes.into_iter().for_each(|node| state.bring_back_node(node));
        state.services.retain(|_, entry| !entry.instances.is_empty());
        state
    }

    /// Becomes the state that an image was taken of, under the limits that this one has.
    pub fn bring_back(&mut self, image: Image) {
        *self = Self::from_image(image, self.limits);
    }

    /// The names of services that are gone, as far back as they are remembered.
    pub fn services_gone(&self) -> impl Iterator<Item = &ServiceName> {
        self.tombstones.keys()
    }

    fn bring_back_node(&mut self, image: NodeImage) {
        let NodeImage { node, index, instances, checks } = image;
        let name = node.value.name.clone();
        let mut entry = NodeEntry {
            node,
            index,
            instances: Default::default(),
            checks: Default::default(),
            node_checks: Default::default(),
        };
        for instance in instances {
            let id = instance.value.id.clone();
            let service = self.services.entry(instance.value.service.clone());
            let service = service.or_insert_with(|| ServiceEntry {
                index: instance.modified,
                instances: Default::default(),
            });
            service.instances.insert((name.clone(), id.clone()));
            entry.instances.insert(id, InstanceEntry { instance, checks: Default::default() });
            self.instance_count += 1;
        }
        for check in checks {
            let id = check.value.definition.id.clone();
            let owned = match &check.value.definition.instance {
                None => Some(&mut entry.node_checks),
                Some(instance) => entry.instances.get_mut(instance).map(|entry| &mut entry.checks),
            };
            let Some(owned) = owned else { continue };
            owned.insert(id.clone());
            self.schedule(&name, &check.value);
            entry.checks.insert(id, check);
            self.check_count += 1;
        }
        self.nodes.insert(name, entry);
        self.node_count += 1;
    }

    /// Goes on at the time `now` after a time in which nobody could report anything: a stop, or a
    /// disk that took nothing. That must be no outage of those who report, so every TTL check that
    /// has not expired gets its whole time anew, at least [`GRACE`], every session its whole time, and
    /// no instance is deregistered for being critical before that.
    pub fn resume(&mut self, now: Timestamp) {
        self.reap_from = now.plus(GRACE);
        self.deadlines.clear();
        let mut nodes = std::mem::take(&mut self.nodes);
        for (name, entry) in &mut nodes {
            for stored in entry.checks.values_mut() {
                let check = &stored.value;
                let reports = check.status != Status::Critical || check.expires.is_some();
                if let CheckKind::Ttl(ttl) = check.definition.kind
                    && reports
                {
                    let expires = now.plus(ttl.max(GRACE));
                    Arc::make_mut(stored).value.expires = Some(expires);
                }
                self.schedule(name, &stored.value);
            }
        }
        self.nodes = nodes;
        self.renew_sessions(now);
    }

    /// Every check that is probed for, with its node.
    pub fn probed_checks(&self) -> impl Iterator<Item = (&NodeName, &Check)> {
        self.nodes.iter().flat_map(|(name, entry)| {
            let checks = entry.checks.values().map(|check| &check.value);
            let probed =
                checks.filter(|check| matches!(check.definition.kind, CheckKind::Probe(_)));
            probed.map(move |check| (name, check))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        CheckDefinition, Command, NewCheck, NodeRef, Outcome, Registration, Topic, Weights,
    };
    use super::*;
    use crate::config::Config;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000 + seconds * 1000)
    }

    fn own(name: &str) -> Node {
        Node {
            name: name.into(),
            id: format!("id of {name}"),
            address: "127.0.0.1".into(),
            tagged_addresses: Default::default(),
            meta: Default::default(),
        }
    }

    /// A state with `web`, which reports every `ttl`, stands as given, and goes when it was critical
    /// for an hour.
    fn with_web(ttl: Duration, status: Status) -> State {
        let limits = Config::default().state_limits();
        let mut state = State::new(own("own"), limits, Index::new(1), at(0));
        let definition = CheckDefinition {
            id: "alive".into(),
            name: String::new(),
            notes: String::new(),
            instance: Some("web".into()),
            kind: CheckKind::Ttl(ttl),
            deregister_after: Some(HOUR),
        };
        let instance = Instance {
            id: "web".into(),
            service: "web".into(),
            tags: Vec::new(),
            address: String::new(),
            port: 80,
            meta: Default::default(),
            weights: Weights::default(),
            tagged_addresses: Default::default(),
            enable_tag_override: false,
        };
        let check = NewCheck { definition, status: Some(status), output: String::new() };
        let registration = Registration {
            node: NodeRef::Known("own".into()),
            instance,
            checks: vec![check],
            replace_checks: false,
        };
        state.handle(Command::Register(Box::new(registration)), at(0)).expect("registered");
        state
    }

    #[test]
    fn whoever_reports_has_its_whole_time_anew() {
        let mut state = with_web(HOUR, Status::Passing);
        state.resume(at(9000));
        assert_eq!(state.next_deadline(), Some(at(9000).plus(HOUR)));
        assert_eq!(state.handle(Command::Tick, at(9000)), Ok(Outcome::default()));
    }

    #[test]
    fn a_short_time_is_made_longer_once() {
        let second = Duration::from_secs(1);
        let mut state = with_web(second, Status::Passing);
        state.resume(at(9000));
        assert_eq!(state.next_deadline(), Some(at(9000).plus(GRACE)));
        let report = Command::Heartbeat {
            node: "own".into(),
            id: "alive".into(),
            status: Status::Passing,
            output: String::new(),
        };
        state.handle(report, at(9001)).expect("reported");
        assert_eq!(state.next_deadline(), Some(at(9002)));
    }

    #[test]
    fn what_was_critical_has_a_chance_to_recover() {
        let mut state = with_web(HOUR, Status::Critical);
        state.resume(at(90_000));
        assert_eq!(state.next_deadline(), Some(at(90_000).plus(GRACE)));
        assert_eq!(state.handle(Command::Tick, at(90_001)), Ok(Outcome::default()));
        state.handle(Command::Tick, at(90_000).plus(GRACE)).expect("ticked");
        assert_eq!(state.services().count(), 0, "it was critical for long enough");
    }

    #[test]
    fn a_node_of_another_name_takes_everything_over() {
        let mut state = with_web(HOUR, Status::Warning);
        let before = state.index();
        let open = Command::Open { own: own("new"), start: Index::new(5) };
        state.handle(open, at(1)).expect("it is never refused");
        assert!(state.index() > before);
        assert_eq!(state.own().value.id, "id of own", "it is the same node");
        let names: Vec<_> = state.nodes().map(|node| node.value.name.as_str()).collect();
        assert_eq!(names, ["new"]);
        let web = state.instance(&"new".into(), &"web".into()).expect("it has moved");
        assert_eq!((web.status(), web.checks.len()), (Status::Warning, 2));
        assert!(state.index_of(&Topic::Service("web".into())) > before);
    }
}
