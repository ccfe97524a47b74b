//! What is added to and taken from header sections on the way: who the client is (RFC 7239 and the
//! older `X-Forwarded-*`), and what each protocol needs at its end.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::model::{Engine, Forwarded};
use crate::downstream::Session;
use crate::http::head::{Fields, Known};

/// The most entries of `X-Forwarded-For` that are looked at: more is nobody's real chain.
const MOST_PROXIES: usize = 32;

/// The client's address: the connection's, or what the nearest proxy says that is not trusted
/// itself. Nothing is believed unless the connection comes from a trusted proxy.
pub(crate) fn client_address(fields: &Fields, peer: SocketAddr, trusted: &[IpNet]) -> SocketAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    if trusted.is_empty() || !is_trusted(peer.ip()) {
        return peer;
    }
    let lists: Vec<&[u8]> = fields.all(Known::XForwardedFor).collect();
    let mut client = peer;
    let hops = lists.iter().rev().flat_map(|list| list.rsplit(|byte| *byte == b','));
    for hop in hops.take(MOST_PROXIES) {
        let Some(address) = address_of(hop) else { break };
        client = address;
        if !is_trusted(address.ip()) {
            break;
        }
    }
    client
}

fn address_of(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let whole = || text.parse::<SocketAddr>().ok();
    bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0)).or_else(whole)
}

/// Tells the instance about the client. What an untrusted client says of itself is dropped first.
pub(crate) fn tell_about_client(
    fields: &mut Fields,
    engine: &Engine,
    session: &Session,
    authority: &[u8],
) {
    let ip = session.peer.ip();
    let from_proxy = engine.trusted_proxies.iter().any(|net| net.contains(&ip));
    if !from_proxy {
        for name in [
            Known::XForwardedFor,
            Known::XForwardedProto,
            Known::XForwardedHost,
            Known::XForwardedPort,
            Known::XRealIp,
            Known::Forwarded,
        ] {
            fields.remove(name);
        }
    }
    let (legacy, standard) = match engine.forwarded {
        Forwarded::XForwarded => (true, false),
        Forwarded::Forwarded => (false, true),
        Forwarded::Both => (true, true),
        Forwarded::Off => return,
    };
    let (address, scheme) = (session.address.as_bytes(), session.scheme());
    if legacy {
        add_legacy(fields, address, scheme, authority);
    }
    if standard {
        add_standard(fields, ip, address, scheme, authority);
    }
}

fn add_legacy(fields: &mut Fields, address: &[u8], scheme: &str, authority: &[u8]) {
    append_to_list(fields, Known::XForwardedFor, address);
    if fields.get(Known::XForwardedProto).is_none() {
        fields.append_known(Known::XForwardedProto, scheme.as_bytes());
    }
    if fields.get(Known::XForwardedHost).is_none() && !authority.is_empty() {
        fields.append_known(Known::XForwardedHost, authority);
    }
}

/// RFC 7239 §4: values that are not tokens are quoted, IPv6 addresses in brackets.
fn add_standard(fields: &mut Fields, ip: IpAddr, address: &[u8], scheme: &str, authority: &[u8]) {
    let mut element = Vec::with_capacity(64);
    element.extend_from_slice(b"for=");
    if ip.is_ipv6() {
        element.extend_from_slice(b"\"[");
        element.extend_from_slice(address);
        element.extend_from_slice(b"]\"");
    } else {
        element.extend_from_slice(address);
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(scheme.as_bytes());
    if !authority.is_empty() {
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(authority);
        element.push(b'"');
    }
    append_to_list(fields, Known::Forwarded, &element);
}

/// Adds an element behind those that trusted proxies wrote.
fn append_to_list(fields: &mut Fields, name: Known, element: &[u8]) {
    if fields.get(name).is_none() {
        return fields.append_known(name, element);
    }
    let mut list = Vec::new();
    for before in fields.all(name) {
        list.extend_from_slice(before);
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    fields.set_known(name, &list);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[track_caller]
    fn check_client(forwarded_for: &[&str], expected: &str) {
        let trusted = ["127.0.0.0/8".parse().expect("net"), "10.0.0.0/8".parse().expect("net")];
        let lines: Vec<_> = forwarded_for.iter().map(|value| ("x-forwarded-for", *value)).collect();
        let peer = "127.0.0.1:5".parse().expect("address");
        let client = client_address(&fields(&lines), peer, &trusted);
        assert_eq!(client.ip().to_string(), expected);
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_trusted() {
        check_client(&[], "127.0.0.1");
        check_client(&["203.0.113.7"], "203.0.113.7");
        check_client(&["1.1.1.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7");
        check_client(&["1.1.1.1", "203.0.113.7"], "203.0.113.7");
        check_client(&["nonsense"], "127.0.0.1");
        check_client(&["[2001:db8::1]:99"], "2001:db8::1");
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let peer = "198.51.100.1:5".parse().expect("address");
        let said = fields(&[("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(client_address(&said, peer, &["10.0.0.0/8".parse().expect("net")]), peer);
    }
}
