//! What a name in our zone asks for. Names are read from their end: the zone, perhaps a datacenter,
//! the kind, and the rest is the kind's. Their case does not matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// The label before a datacenter's that some clients write (`web.service.dc1.dc.consul`).
const DATACENTER: &str = "dc";

/// What stands for "any tag" in the form of RFC 2782, where the protocol is meant to stand.
const PROTOCOLS: [&str; 2] = ["_tcp", "_udp"];

/// What a name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The zone itself.
    Apex,
    /// Its name server.
    NameServer,
    /// Instances of a service.
    Service { name: String, tag: Option<String> },
    /// A node.
    Node(String),
    /// The address that the name spells out.
    Address(IpAddr),
    /// Nothing that has records, though names below it have (RFC 8020).
    Inner,
    /// No name that there could be.
    Unknown,
    /// Something that is not ours to answer: another zone, another datacenter.
    Elsewhere,
}

/// The zone and the datacenter that are ours.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    /// The labels of the zone, in lower case.
    pub(super) zone: Vec<String>,
    pub(super) datacenter: String,
}

impl Ours {
    /// Reads what `name` asks for.
    pub(super) fn read(&self, name: &Name) -> Asked {
        let labels: Result<Vec<&str>, _> = name.iter().map(std::str::from_utf8).collect();
        let raw: Vec<&[u8]> = name.iter().collect();
        let Some(inside) = raw.len().checked_sub(self.zone.len()) else { return Asked::Elsewhere };
        let zone = raw[inside..].iter().zip(&self.zone);
        if !zone.into_iter().all(|(is, ours)| is.eq_ignore_ascii_case(ours.as_bytes())) {
            return Asked::Elsewhere;
        }
        match labels {
            Ok(labels) => self.inside(&labels[..inside]),
            Err(_not_text) => Asked::Unknown,
        }
    }

    fn inside(&self, labels: &[&str]) -> Asked {
        let [head @ .., last] = labels else { return Asked::Apex };
        if let Some(kind) = Kind::of(last) {
            return kind.read(head);
        }
        if head.is_empty() && is(last, "ns") {
            return Asked::NameServer;
        }
        let (head, datacenter) = match head {
            [head @ .., datacenter] if is(last, DATACENTER) => (head, datacenter),
            head => (head, last),
        };
        let ours = is(datacenter, &self.datacenter);
        match head {
            [] if ours || is(datacenter, DATACENTER) => Asked::Inner,
            [head @ .., kind] => match Kind::of(kind) {
                Some(kind) if ours => kind.read(head),
                Some(_) => Asked::Elsewhere,
                None => Asked::Unknown,
            },
            [] => Asked::Unknown,
        }
    }
}

/// What kinds of things have names.
#[derive(Clone, Copy)]
enum Kind {
    Service,
    Node,
    Address,
}

impl Kind {
    fn of(label: &str) -> Option<Self> {
        let kinds = [("service", Self::Service), ("node", Self::Node), ("addr", Self::Address)];
        kinds.into_iter().find(|(word, _)| is(label, word)).map(|(_, kind)| kind)
    }

    fn read(self, head: &[&str]) -> Asked {
        match (self, head) {
            (_, []) => Asked::Inner,
            // A node's name may have dots in it.
            (Self::Node, labels) => Asked::Node(labels.join(".")),
            (Self::Address, [digits]) => address(digits).map_or(Asked::Unknown, Asked::Address),
            (Self::Address, _) => Asked::Unknown,
            (Self::Service, [name, tag]) if name.starts_with('_') && tag.starts_with('_') => {
                let any = PROTOCOLS.iter().any(|protocol| is(tag, protocol));
                let tag = (!any).then(|| tag[1..].to_owned());
                Asked::Service { name: name[1..].to_owned(), tag }
            }
            // Above names of the form just read; a resolver that asks label by label passes here.
            (Self::Service, [label]) if label.starts_with('_') => Asked::Inner,
            // A tag may have dots in it, the name of a service may not.
            (Self::Service, [tag @ .., name]) => {
                let tag = (!tag.is_empty()).then(|| tag.join("."));
                Asked::Service { name: (*name).to_owned(), tag }
            }
        }
    }
}

fn is(label: &str, word: &str) -> bool {
    label.eq_ignore_ascii_case(word)
}

/// The address that hexadecimal digits spell: 8 of them or 32.
fn address(digits: &str) -> Option<IpAddr> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match digits.len() {
        8 => Some(Ipv4Addr::from(u32::from_str_radix(digits, 16).ok()?).into()),
        32 => Some(Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?).into()),
        _ => None,
    }
}

/// The label that spells an address.
pub(super) fn spelled(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:08x}", u32::from(address)),
        IpAddr::V6(address) => format!("{:032x}", u128::from(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Asked {
        let ours = Ours { zone: vec!["consul".into()], datacenter: "dc1".into() };
        ours.read(&Name::from_ascii(name).expect("a name"))
    }

    fn service(name: &str, tag: Option<&str>) -> Asked {
        Asked::Service { name: name.into(), tag: tag.map(Into::into) }
    }

    #[test]
    fn names_are_read_from_their_end() {
        for (name, asked) in [
            ("consul.", Asked::Apex),
            ("CONSUL.", Asked::Apex),
            ("ns.consul.", Asked::NameServer),
            ("web.service.consul.", service("web", None)),
            ("Web.Service.DC1.Consul.", service("Web", None)),
            ("web.service.dc1.dc.consul.", service("web", None)),
            ("v1.web.service.consul.", service("web", Some("v1"))),
            ("v1.2.web.service.dc1.consul.", service("web", Some("v1.2"))),
            ("_web._tcp.service.consul.", service("web", None)),
            ("_web._UDP.service.consul.", service("web", None)),
            ("_web._v1.service.dc1.consul.", service("web", Some("v1"))),
            ("n1.node.consul.", Asked::Node("n1".into())),
            ("a.b.node.dc1.consul.", Asked::Node("a.b".into())),
            ("7f000001.addr.consul.", Asked::Address(Ipv4Addr::LOCALHOST.into())),
            ("7F000001.addr.dc1.consul.", Asked::Address(Ipv4Addr::LOCALHOST.into())),
        ] {
            assert_eq!(read(name), asked, "{name}");
        }
        let six = format!("{}.addr.consul.", spelled(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(read(&six), Asked::Address(Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn what_is_not_ours_and_what_cannot_be_are_told_apart() {
        for name in
            ["example.", ".", "web.service.consul.example.", "web.service.dc2.consul.", "a.consu."]
        {
            assert_eq!(read(name), Asked::Elsewhere, "{name}");
        }
        for name in [
            "other.consul.",
            "dc2.consul.",
            "web.services.consul.",
            "x.y.consul.",
            "7f0001.addr.consul.",
            "xf000001.addr.consul.",
            "x.7f000001.addr.consul.",
        ] {
            assert_eq!(read(name), Asked::Unknown, "{name}");
        }
        for name in [
            "service.consul.",
            "node.dc1.consul.",
            "addr.consul.",
            "dc1.consul.",
            "dc.consul.",
            "dc1.dc.consul.",
            "_tcp.service.consul.",
        ] {
            assert_eq!(read(name), Asked::Inner, "{name}");
        }
        let bytes = Name::from_labels([&b"\xff\xfe"[..], b"service", b"consul"]).expect("a name");
        let ours = Ours { zone: vec!["consul".into()], datacenter: "dc1".into() };
        assert_eq!(ours.read(&bytes), Asked::Unknown);
    }
}
