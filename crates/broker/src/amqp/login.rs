//! Who a client says it is (SASL): PLAIN (RFC 4616), RabbitMQ's AMQPLAIN, and EXTERNAL (RFC 4422),
//! which takes the name of the certificate that TLS has verified. A secret is never shown.

use std::fmt;

use super::wire::read_bare_table;
use crate::message::Value;

/// What is offered to clients, the best first.
pub(super) const MECHANISMS: &str = "PLAIN AMQPLAIN";
/// The same, where the client has shown a certificate.
pub(super) const MECHANISMS_WITH_CERTIFICATE: &str = "EXTERNAL PLAIN AMQPLAIN";

/// Who a client says it is, and how it would prove it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The name of the user.
    pub(super) user: String,
    /// How it is proven.
    pub(super) proof: Proof,
}

/// How a claim is proven.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// By what only the user knows.
    Password(Vec<u8>),
    /// By a certificate, which TLS has verified already.
    Certificate,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What does not even claim anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unclear {
    /// None of those that were offered.
    #[error("the mechanism is none of those that were offered")]
    Mechanism,
    /// Not as the mechanism has it.
    #[error("the response is not of the form that the mechanism has")]
    Response,
}

impl Claim {
    /// Reads a response. `certificate` is the name in the client's certificate, if it has shown
    /// one.
    pub(super) fn read(
        mechanism: &str,
        response: &[u8],
        certificate: Option<&str>,
    ) -> Result<Self, Unclear> {
        match (mechanism, certificate) {
            ("PLAIN", _) => plain(response),
            ("AMQPLAIN", _) => amqplain(response),
            ("EXTERNAL", Some(name)) => {
                Ok(Self { user: name.to_owned(), proof: Proof::Certificate })
            }
            _ => Err(Unclear::Mechanism),
        }
    }
}

/// `[authorised as] NUL name NUL password`.
fn plain(response: &[u8]) -> Result<Claim, Unclear> {
    let mut parts = response.split(|octet| *octet == 0);
    let (Some(_as), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Unclear::Response);
    };
    claim(user, password)
}

/// The fields of a table, without its size.
fn amqplain(response: &[u8]) -> Result<Claim, Unclear> {
    let table = read_bare_table(response).map_err(|_malformed| Unclear::Response)?;
    match (table.get("LOGIN"), table.get("PASSWORD")) {
        (Some(Value::Text(user)), Some(Value::Text(password))) => claim(user, password),
        _ => Err(Unclear::Response),
    }
}

fn claim(user: &[u8], password: &[u8]) -> Result<Claim, Unclear> {
    let user = std::str::from_utf8(user).map_err(|_not_text| Unclear::Response)?.to_owned();
    Ok(Claim { user, proof: Proof::Password(password.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mechanism: &str, response: &[u8], wanted: Result<(&str, &str), Unclear>) {
        let wanted = wanted.map(|(user, password)| Claim {
            user: user.to_owned(),
            proof: Proof::Password(password.into()),
        });
        assert_eq!(Claim::read(mechanism, response, None), wanted, "{mechanism}");
    }

    #[test]
    fn names_and_passwords_are_read_as_clients_write_them() {
        check("PLAIN", b"\0guest\0secret", Ok(("guest", "secret")));
        check("PLAIN", b"other\0guest\0", Ok(("guest", "")));
        check("PLAIN", b"guest\0secret", Err(Unclear::Response));
        check("PLAIN", b"\0guest\0sec\0ret", Err(Unclear::Response));
        check("PLAIN", b"\0\xFF\0", Err(Unclear::Response));
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        check("AMQPLAIN", response, Ok(("guest", "secret")));
        check("AMQPLAIN", &response[..20], Err(Unclear::Response));
        check("CRAM-MD5", b"", Err(Unclear::Mechanism));
    }

    #[test]
    fn a_certificate_must_have_been_shown() {
        check("EXTERNAL", b"", Err(Unclear::Mechanism));
        let claim = Claim::read("EXTERNAL", b"", Some("mailer")).expect("a claim");
        assert!(claim.user == "mailer" && claim.proof == Proof::Certificate);
    }

    #[test]
    fn no_secret_is_shown() {
        let claim = Claim::read("PLAIN", b"\0guest\0hunter2", None).expect("a claim");
        assert_eq!(format!("{claim:?}"), r#"Claim { user: "guest", .. }"#);
    }
}
