//! What a limit counts by. A call that lacks what is asked for (nobody is known, an expression has no
//! value) is counted by its address, apart from everybody else's: to show nothing must not be a way
//! around a limit.
//!
//! Addresses of IPv6 are counted by their first 64 bits, which is what one customer gets at least;
//! addresses of IPv4 that are written as IPv6 are the same as those that are not.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha1::{Digest as _, Sha1};

use super::table::Hashed;
use crate::config::model::LimitBy;
use crate::guard::Identity;

/// The longest value of an expression that is counted by itself; longer ones are by their digest.
const LONGEST: usize = 128;

/// A call, as limits see it.
pub(crate) struct Caller<'a> {
    /// Who calls, if that is known.
    pub(crate) identity: Option<&'a Identity>,
    /// The client's address: of the connection, or as a trusted proxy tells it.
    pub(crate) address: IpAddr,
    /// The name of the route.
    pub(crate) route: &'a str,
    /// The value of an expression.
    pub(crate) value: &'a dyn Fn(&posthouse_expression::Program) -> Option<String>,
}

/// What a call is counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Consumer(&'a str),
    /// A provider and who it says it is.
    Subject(&'a str, &'a str),
    /// A provider and a credential.
    Credential(&'a str, &'a str),
    Address(IpAddr),
    Route(&'a str),
    Value(Cow<'a, str>),
    All,
}

impl<'a> Key<'a> {
    /// What a limit counts this call by.
    pub(crate) fn of(by: &LimitBy, caller: &Caller<'a>) -> Self {
        let identity = caller.identity;
        let key = match by {
            LimitBy::Consumer => {
                identity.and_then(|known| known.consumer.as_deref()).map(Self::Consumer)
            }
            LimitBy::Subject => {
                identity.map(|known| Self::Subject(&known.provider, &known.subject))
            }
            LimitBy::Key => identity
                .and_then(|known| Some(Self::Credential(&known.provider, known.key.as_deref()?))),
            LimitBy::Address => None,
            LimitBy::Route => Some(Self::Route(caller.route)),
            LimitBy::All => Some(Self::All),
            LimitBy::Value(program) => {
                (caller.value)(program).map(|value| Self::Value(short(value).into()))
            }
        };
        key.unwrap_or_else(|| Self::Address(counted(caller.address)))
    }

    /// Its place in a table.
    pub(crate) fn hashed(&self, hasher: &impl BuildHasher) -> Hashed {
        let mut state = hasher.build_hasher();
        match self {
            // The two that nearly all calls are counted by, in as little as can be hashed.
            Self::Consumer(name) => state.write(name.as_bytes()),
            Self::Address(address) => {
                state.write_u8(1);
                match address {
                    IpAddr::V4(address) => state.write_u32(address.to_bits()),
                    IpAddr::V6(address) => state.write_u128(address.to_bits()),
                }
            }
            other => {
                state.write_u8(2);
                other.hash(&mut state);
            }
        }
        Hashed::new(state.finish())
    }

    /// Its name where it is kept and shown. Values of expressions may be secrets, and are digests.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Consumer(name) => format!("consumer {name}"),
            Self::Subject(provider, subject) => format!("subject {provider} {subject}"),
            Self::Credential(provider, key) => format!("key {provider} {key}"),
            Self::Address(address) => format!("address {address}"),
            Self::Route(name) => format!("route {name}"),
            Self::Value(value) => format!("value {}", digest(value)),
            Self::All => "all".into(),
        }
    }
}

/// The part of an address that is counted by.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

fn short(value: String) -> String {
    if value.len() <= LONGEST { value } else { digest(&value) }
}

fn digest(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha1::digest(value))
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;
    use std::sync::Arc;

    use super::*;

    fn caller<'a>(identity: Option<&'a Identity>, address: &str) -> Caller<'a> {
        let address = address.parse().expect("address");
        Caller { identity, address, route: "users", value: &|_| None }
    }

    fn acme() -> Identity {
        Identity {
            provider: "keys".into(),
            subject: "acme".into(),
            consumer: Some(Arc::from("acme")),
            ..Identity::default()
        }
    }

    #[track_caller]
    fn check(by: &LimitBy, identity: Option<&Identity>, address: &str, name: &str) {
        assert_eq!(Key::of(by, &caller(identity, address)).name(), name);
    }

    #[test]
    fn calls_are_counted_by_what_is_known_and_else_by_their_address() {
        let acme = acme();
        check(&LimitBy::Consumer, Some(&acme), "192.0.2.1", "consumer acme");
        check(&LimitBy::Subject, Some(&acme), "192.0.2.1", "subject keys acme");
        check(&LimitBy::Key, Some(&acme), "192.0.2.1", "address 192.0.2.1");
        check(&LimitBy::Consumer, None, "192.0.2.1", "address 192.0.2.1");
        check(&LimitBy::Route, None, "192.0.2.1", "route users");
        check(&LimitBy::All, Some(&acme), "192.0.2.1", "all");
    }

    #[test]
    fn a_network_of_ipv6_is_one_customer() {
        let by = LimitBy::Address;
        check(&by, None, "2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::");
        check(&by, None, "2001:db8:1:2:ffff::1", "address 2001:db8:1:2::");
        check(&by, None, "2001:db8:1:3::1", "address 2001:db8:1:3::");
        check(&by, None, "::ffff:192.0.2.1", "address 192.0.2.1");
    }

    #[test]
    fn different_keys_have_different_places() {
        let hasher = RandomState::new();
        let keys = [
            Key::Consumer("a"),
            Key::Route("a"),
            Key::Value("a".into()),
            Key::Subject("a", "b"),
            Key::Subject("ab", ""),
            Key::Credential("a", "b"),
            Key::Address(IpAddr::from([192, 0, 2, 1])),
            Key::Address(IpAddr::from([192, 0, 2, 2])),
            Key::All,
        ];
        for (index, one) in keys.iter().enumerate() {
            for other in &keys[index + 1..] {
                assert_ne!(one.hashed(&hasher), other.hashed(&hasher), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn long_values_are_counted_by_their_digest() {
        assert_eq!(short("x".repeat(128)).len(), 128);
        assert_eq!(short("x".repeat(129)).len(), 27);
        assert!(!Key::Value("secret".into()).name().contains("secret"));
    }
}
