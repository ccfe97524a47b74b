//! Where an engine is, and the token that it wants.

use http::HeaderValue;
use http::uri::Authority;

/// How an engine's address begins.
const SCHEME: &str = "consul://";

/// The port when none is written.
const PORT: u16 = 8500;

/// Where an engine is, and the token that it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress {
    /// `HOST:PORT`.
    pub(super) authority: String,
    /// Shown to nobody.
    pub(super) token: Option<HeaderValue>,
}

impl EngineAddress {
    /// Reads `consul://HOST[:PORT]`.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = || format!("`{written}` is not like `consul://HOST:8500`");
        let place = written.strip_prefix(SCHEME).ok_or_else(wrong)?.trim_end_matches('/');
        let authority: Authority = place.parse().map_err(|_error| wrong())?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => PORT,
            None => return Err(wrong()),
        };
        Ok(Self { authority: format!("{}:{port}", authority.host()), token: None })
    }

    /// The same, asked with a token.
    ///
    /// # Errors
    /// With what is wrong with the token.
    pub fn with_token(mut self, token: &str) -> Result<Self, String> {
        let mut token = HeaderValue::from_str(token)
            .map_err(|_error| "the token has characters that HTTP cannot carry".to_owned())?;
        token.set_sensitive(true);
        self.token = Some(token);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_perhaps_a_port() {
        for (written, authority) in [
            ("consul://names.internal:8501", "names.internal:8501"),
            ("consul://10.0.0.1", "10.0.0.1:8500"),
            ("consul://[::1]:80/", "[::1]:80"),
        ] {
            let address = EngineAddress::parse(written).expect(written);
            assert_eq!(address.authority, authority);
        }
        for wrong in [
            "",
            "names:8500",
            "etcd://a:1",
            "consul://",
            "consul://:80",
            "consul://a:x",
            "consul://u@a",
        ] {
            assert!(EngineAddress::parse(wrong).is_err(), "{wrong}");
        }
        let address = EngineAddress::parse("consul://a").expect("an address");
        let address = address.with_token("correct horse").expect("a token");
        assert!(!format!("{address:?}").contains("horse"));
    }
}
