//! The records that answer what a name asks for.
//!
//! Critical instances are left out, warning ones are not; the rest comes in a new order each time.
//! An instance that is registered under a host name is a target of SRV records; for its address the
//! asker is sent on (CNAME), but only when no instance has an address of its own, since a CNAME
//! tolerates nothing beside it (RFC 1034 §3.6.2).

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::name::{Asked, Ours, spelled};
use crate::access::{Grant, Kind};
use crate::config::Config;
use crate::state::{Index, InstanceView, Node, NodeName, ServiceName, State, Status, Topic};

/// How many of our own names one may lead to through the next.
const MAX_ALIASES: usize = 4;

/// The longest string of a TXT record (RFC 1035 §3.3).
const MAX_TEXT: usize = 255;

/// The times of the SOA record, in seconds. Nobody copies the zone, so that only `expire` is read
/// by anyone, and by people.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 86_400;

/// The zone that the registry answers for.
#[derive(Debug)]
pub struct Zone {
    ours: Ours,
    domain: Name,
    ttl_seconds: u32,
    pub(super) max_answers: usize,
    pub(super) max_udp_answers: usize,
    /// What askers may be told: they bring no token.
    grant: Arc<Grant>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Answer>,
    pub(super) authority: Option<Record>,
}

/// A record, and one that saves its reader the next question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) record: Record,
    pub(super) along: Option<Record>,
}

impl Zone {
    /// The zone of a registry that is configured so.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let zone = config.domain.split('.').map(Into::into).collect();
        Self {
            ours: Ours { zone, datacenter: config.datacenter.clone() },
            domain: absolute(&config.domain).unwrap_or_default(),
            ttl_seconds: u32::try_from(config.dns_ttl.as_secs()).unwrap_or(u32::MAX),
            max_answers: limits.dns_answers,
            max_udp_answers: limits.dns_udp_answers,
            grant: Arc::clone(config.access().anonymous()),
        }
    }

    /// Answers a question from the state. Returns the index that the answer goes by, too.
    pub(super) fn look_up(&self, state: &State, query: &Query, rng: &mut Rng) -> (Reply, Index) {
        // What is not looked up is always so.
        let index = Index::new(0);
        if !matches!(query.query_class, DNSClass::IN | DNSClass::ANY)
            || matches!(query.query_type, RecordType::AXFR | RecordType::IXFR)
        {
            return (Reply::refused(), index);
        }
        let asked = self.ours.read(&query.name);
        if asked == Asked::Elsewhere {
            return (Reply::refused(), index);
        }
        let (kind, answers) = (query.query_type, Vec::new());
        let mut found = Found { zone: self, state, kind, answers, index };
        let exists = found.find(&query.name, &asked, rng, MAX_ALIASES);
        if found.answers.is_empty() {
            found.goes_by(&Topic::Services);
        }
        let Found { answers, index, .. } = found;
        let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let authority = answers.is_empty().then(|| self.soa(state));
        (Reply { code, answers, authority }, index)
    }

    fn soa(&self, state: &State) -> Record {
        let [server, mailbox] = ["ns", "hostmaster"].map(|label| {
            self.domain.prepend_label(label).unwrap_or_else(|_too_long| self.domain.clone())
        });
        // Whoever caches a denial does not see a service come; so nobody may.
        let forget_at_once = 0;
        let serial = state.index_of(&Topic::Services).get() & u64::from(u32::MAX);
        let serial = u32::try_from(serial).unwrap_or_default();
        let soa = SOA::new(server, mailbox, serial, REFRESH, RETRY, EXPIRE, forget_at_once);
        Record::from_rdata(self.domain.clone(), forget_at_once, RData::SOA(soa))
    }

    fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.ttl_seconds, data)
    }

    /// `labels` below `KIND.DATACENTER.DOMAIN`, when that makes a name.
    fn below<'a>(&'a self, labels: impl Iterator<Item = &'a str>, kind: &'a str) -> Option<Name> {
        let labels = labels.chain([kind, self.ours.datacenter.as_str()]);
        let name = Name::from_labels(labels.map(str::as_bytes)).ok()?;
        name.append_domain(&self.domain).ok()
    }

    /// The name of a node.
    fn node_name(&self, node: &Node) -> Option<Name> {
        self.below(node.name.as_str().split('.'), "node")
    }

    /// The name that spells an address.
    fn address_name(&self, address: IpAddr) -> Option<Name> {
        self.below([spelled(address).as_str()].into_iter(), "addr")
    }
}

impl Reply {
    fn refused() -> Self {
        Self { code: ResponseCode::Refused, answers: Vec::new(), authority: None }
    }

    /// The registry cannot say now.
    pub(super) fn failed() -> Self {
        Self { code: ResponseCode::ServFail, answers: Vec::new(), authority: None }
    }
}

/// What is being put together for one question.
struct Found<'a> {
    zone: &'a Zone,
    state: &'a State,
    kind: RecordType,
    answers: Vec<Answer>,
    index: Index,
}

impl Found<'_> {
    /// Finds the records of `name`. Returns whether there is that name at all.
    fn find(&mut self, name: &Name, asked: &Asked, rng: &mut Rng, aliases: usize) -> bool {
        match asked {
            Asked::Apex => self.apex(name),
            Asked::NameServer => {
                let address = self.state.own().value.address.parse().ok();
                address.into_iter().for_each(|address| self.address(name, address));
            }
            Asked::Address(address) => self.address(name, *address),
            Asked::Node(node) => return self.node(name, node, rng, aliases),
            Asked::Service { name: service, tag } => {
                return self.service(name, service, tag.as_deref(), rng, aliases);
            }
            Asked::Inner => {}
            Asked::Unknown | Asked::Elsewhere => return false,
        }
        true
    }

    /// Notes that the answer is of this.
    fn goes_by(&mut self, topic: &Topic) {
        self.index = self.index.max(self.state.index_of(topic));
    }

    fn may_tell(&self, kind: Kind, name: &str) -> bool {
        self.zone.grant.may_read(kind, name)
    }

    fn wants(&self, kind: RecordType) -> bool {
        self.kind == kind || self.kind == RecordType::ANY
    }

    fn add(&mut self, name: &Name, data: RData, along: Option<Record>) {
        let record = self.zone.record(name, data);
        self.answers.push(Answer { record, along });
    }

    fn apex(&mut self, name: &Name) {
        if self.wants(RecordType::SOA) {
            self.goes_by(&Topic::Services);
            self.answers.push(Answer { record: self.zone.soa(self.state), along: None });
        }
        if self.wants(RecordType::NS) {
            let own = &self.state.own().value;
            let Some(target) = self.zone.node_name(own) else { return };
            let along = own.address.parse().ok();
            let along = along.map(|address| self.zone.record(&target, data_of(address)));
            self.add(name, RData::NS(NS(target)), along);
        }
    }

    fn address(&mut self, name: &Name, address: IpAddr) {
        let data = data_of(address);
        if self.wants(data.record_type()) {
            self.add(name, data, None);
        }
    }

    fn node(&mut self, name: &Name, asked: &str, rng: &mut Rng, aliases: usize) -> bool {
        let known = self.state.node(&NodeName::from(asked)).map(|view| view.node);
        let known = known.filter(|node| self.may_tell(Kind::Node, node.value.name.as_str()));
        let Some(node) = known else {
            self.goes_by(&Topic::Nodes);
            return false;
        };
        self.goes_by(&Topic::Node(node.value.name.clone()));
        if self.wants(RecordType::TXT) {
            texts(&node.value.meta).for_each(|text| self.add(name, RData::TXT(text), None));
        }
        match node.value.address.parse() {
            Ok(address) => self.address(name, address),
            Err(_host) => self.alias(name, &node.value.address, rng, aliases),
        }
        true
    }

    fn service(
        &mut self,
        name: &Name,
        service: &str,
        tag: Option<&str>,
        rng: &mut Rng,
        aliases: usize,
    ) -> bool {
        let service = ServiceName::from(service);
        self.goes_by(&Topic::Service(service.clone()));
        let all = self.state.instances(&service);
        let all = all.filter(|view| view.status() != Status::Critical && has_tag(view, tag));
        let may_tell = |view: &InstanceView| {
            self.may_tell(Kind::Service, view.instance.value.service.as_str())
                && self.may_tell(Kind::Node, view.node.value.name.as_str())
        };
        let mut views: Vec<InstanceView> = all.filter(may_tell).collect();
        if views.is_empty() {
            return false;
        }
        rng.shuffle(&mut views);
        if matches!(
            self.kind,
            RecordType::A | RecordType::AAAA | RecordType::ANY | RecordType::CNAME
        ) {
            self.addresses(name, &views, rng, aliases);
        }
        if self.wants(RecordType::SRV) {
            self.targets(name, &views);
        }
        true
    }

    /// The addresses of instances; several on one machine are one address.
    fn addresses(&mut self, name: &Name, views: &[InstanceView], rng: &mut Rng, aliases: usize) {
        let known = views.iter().filter_map(|view| view.address().parse().ok());
        let mut known: Vec<IpAddr> = known.collect();
        if known.is_empty() {
            return self.alias(name, views[0].address(), rng, aliases);
        }
        let mut seen = HashSet::with_capacity(known.len());
        known.retain(|address| seen.insert(*address));
        known.into_iter().for_each(|address| self.address(name, address));
    }

    /// Sends the asker on to a host, and answers for that too when it is one of ours.
    fn alias(&mut self, name: &Name, host: &str, rng: &mut Rng, aliases: usize) {
        let addresses = [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::ANY];
        let Some(target) = absolute(host).filter(|_| addresses.contains(&self.kind)) else {
            return;
        };
        if aliases == 0 {
            return;
        }
        self.add(name, RData::CNAME(CNAME(target.clone())), None);
        if matches!(self.kind, RecordType::A | RecordType::AAAA) {
            let asked = self.zone.ours.read(&target);
            // What is not there is for the asker to find out: this name is.
            let _exists = self.find(&target, &asked, rng, aliases - 1);
        }
    }

    fn targets(&mut self, name: &Name, views: &[InstanceView]) {
        let mut seen = HashSet::with_capacity(views.len());
        for view in views {
            let instance = &view.instance.value;
            let weight = match view.status() {
                Status::Warning => instance.weights.warning,
                _ => instance.weights.passing,
            };
            let weight = u16::try_from(weight).unwrap_or(u16::MAX);
            let Some((target, address)) = self.target(view) else { continue };
            if !seen.insert((target.clone(), instance.port)) {
                continue;
            }
            let along = address.map(|address| self.zone.record(&target, data_of(address)));
            self.add(name, RData::SRV(SRV::new(1, weight, instance.port, target)), along);
        }
    }

    /// The name under which an instance's address is found, and the address when it is known: that
    /// of its node where the address is the node's, one that spells the address, or its host.
    fn target(&self, view: &InstanceView) -> Option<(Name, Option<IpAddr>)> {
        let node = &view.node.value;
        let address = view.address();
        let Ok(ip) = address.parse::<IpAddr>() else {
            return Some((absolute(address)?, None));
        };
        let of_node = (address == node.address).then(|| self.zone.node_name(node)).flatten();
        Some((of_node.or_else(|| self.zone.address_name(ip))?, Some(ip)))
    }
}

fn has_tag(view: &InstanceView, tag: Option<&str>) -> bool {
    let tags = &view.instance.value.tags;
    tag.is_none_or(|wanted| tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)))
}

fn data_of(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// What is said about a node, a record for each `key=value` (RFC 1464).
fn texts(meta: &BTreeMap<String, String>) -> impl Iterator<Item = TXT> {
    let told = meta.iter().filter(|(_, value)| !value.is_empty());
    told.map(|(key, value)| {
        let text = format!("{key}={value}");
        TXT::from_bytes(text.as_bytes().chunks(MAX_TEXT).collect())
    })
}

/// A host name as one that needs no search list.
fn absolute(host: &str) -> Option<Name> {
    let mut name = Name::from_str_relaxed(host).ok().filter(|name| !name.is_root())?;
    name.set_fqdn(true);
    Some(name)
}
