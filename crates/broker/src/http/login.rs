//! Who asks over HTTP: a user of the broker, by name and password (RFC 7617).

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use tokio::time::sleep;

use crate::ids::UserName;
use crate::service::Handle;

/// Before a login that failed is answered.
const LATE: Duration = Duration::from_secs(1);

/// Who this is; or else why nobody is let in so, for whoever asks. A wrong password is told late, and
/// logged.
pub(crate) async fn log_in(
    handle: &Handle,
    headers: &HeaderMap,
    peer: SocketAddr,
) -> Result<UserName, &'static str> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((name, password)) = given.and_then(basic) else {
        return Err("bring a user of the broker by HTTP Basic, like `-u NAME:PASSWORD`");
    };
    if let Some(user) = handle.authenticate(&name, &password, peer.ip().to_canonical()) {
        return Ok(user);
    }
    tracing::warn!(%peer, "a login failed: no such user and password from there: {name:?}");
    sleep(LATE).await;
    Err("there is no such user and password, or not from there")
}

/// `Basic` and the base64 of `NAME:PASSWORD`.
fn basic(value: &str) -> Option<(String, Vec<u8>)> {
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    let colon = decoded.iter().position(|octet| *octet == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    scheme.eq_ignore_ascii_case("basic").then(|| (name, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_read_as_they_are_written() {
        let read = |text: &str| basic(&format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(read("guest:a:b"), Some(("guest".into(), b"a:b".to_vec())));
        assert_eq!(read("guest"), None);
        assert_eq!(basic("Bearer Z3Vlc3Q6eA=="), None);
        assert_eq!(basic("Basic !"), None);
    }
}
