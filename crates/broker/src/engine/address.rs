//! Where an engine is, and who logs in to it: `amqp://USER:PASSWORD@HOST:PORT/VHOST`, as RabbitMQ's
//! clients write it.

use std::fmt;

use http::uri::Authority;
use percent_encoding::percent_decode_str;

/// The ports when none is written, in the clear and over TLS.
const PORTS: (u16, u16) = (5672, 5671);
/// What RabbitMQ has from the beginning, for those who come from its own machine.
const GUEST: &str = "guest";

/// Where an engine is, and who logs in to it.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineAddress {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) user: String,
    /// Shown to nobody.
    pub(crate) password: String,
    /// The virtual host, where one is written.
    pub(crate) vhost: Option<String>,
}

impl EngineAddress {
    /// Reads `amqp://…` or `amqps://…`.
    ///
    /// # Errors
    /// With what is wrong with it, without what may be a password.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("{what}: it is not like `amqp://USER:PASSWORD@HOST:5672/VHOST`, or `amqps://…`")
        };
        let (tls, rest) = match written.split_once("://") {
            Some(("amqp", rest)) => (false, rest),
            Some(("amqps", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(format!("the engine `{scheme}` is not in this version of Posthouse"));
            }
            None => return Err(wrong("the engine's address has no scheme")),
        };
        if rest.contains(['?', '#']) {
            return Err(wrong("the engine's address has a query"));
        }
        let (place, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match place.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, place),
        };
        let authority: Authority =
            place.parse().map_err(|_error| wrong("the engine's address has no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("the engine's address has no host"));
        }
        let default = if tls { PORTS.1 } else { PORTS.0 };
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => default,
            None => return Err(wrong("the engine's port is no number")),
        };
        let decoded = |what: &str, text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            let decoded = decoded.map_err(|_error| wrong(&format!("the {what} is not UTF-8")))?;
            match decoded.len() {
                0..=255 => Ok(decoded.into_owned()),
                _ => Err(wrong(&format!("the {what} has more than 255 bytes"))),
            }
        };
        let (user, password) = match login {
            None => (GUEST.to_owned(), GUEST.to_owned()),
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (decoded("engine's user", user)?, decoded("engine's password", password)?)
            }
        };
        let vhost = match vhost {
            "" => None,
            vhost => Some(decoded("engine's virtual host", vhost)?),
        };
        Ok(Self { host: host.to_owned(), port, tls, user, password, vhost })
    }
}

/// `HOST:PORT`, which is all that is ever shown.
impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_clients_of_rabbitmq_write_it() {
        for (written, shown, login, vhost) in [
            ("amqp://mq.internal", "mq.internal:5672", "guest:guest", None),
            ("amqp://mq:1/", "mq:1", "guest:guest", None),
            ("amqps://a:b@mq/shop", "mq:5671", "a:b", Some("shop")),
            ("amqp://a%40b:p%2Fw%3A@[::1]:80/%2f", "[::1]:80", "a@b:p/w:", Some("/")),
            ("amqp://a:b@c@10.0.0.1", "10.0.0.1:5672", "a:b@c", None),
        ] {
            let address = EngineAddress::parse(written).expect(written);
            assert_eq!(address.to_string(), shown, "{written}");
            assert_eq!(format!("{}:{}", address.user, address.password), login, "{written}");
            assert_eq!(address.vhost.as_deref(), vhost, "{written}");
            assert_eq!(address.tls, written.starts_with("amqps:"), "{written}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for wrong in [
            "",
            "mq:5672",
            "amqp://",
            "amqp://a:correct-horse@",
            "amqp://a:correct-horse@:1",
            "amqp://a:correct-horse@mq:x",
            "amqp://a:correct-horse@mq/a?heartbeat=1",
            "kafka://a:correct-horse@mq",
        ] {
            let why = EngineAddress::parse(wrong).expect_err(wrong);
            assert!(!why.contains("horse"), "{why}");
        }
        let address = EngineAddress::parse("amqp://a:correct-horse@mq").expect("an address");
        assert!(!format!("{address:?} {address}").contains("horse"));
    }
}
