//! WebSocket's handshake where the versions of HTTP differ: over HTTP/1 a key proves that the server
//! means WebSocket (RFC 6455 §4), over HTTP/2 there is none (RFC 8441 §5). The gateway asks for the
//! proof where its client has no key, and gives it where the instance has none to read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha1::{Digest as _, Sha1};

use crate::fault::Fault;
use crate::http::head::{Fields, Known};

/// The key of one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    text: String,
    /// The gateway made it: nobody else checks what comes of it.
    is_own: bool,
}

impl Key {
    /// A key for a client that has none, of these random bytes.
    pub(crate) fn own(nonce: u128) -> Self {
        Self { text: STANDARD.encode(nonce.to_be_bytes()), is_own: true }
    }

    /// The key of a client over HTTP/1.
    pub(crate) fn of_client(fields: &Fields) -> Option<Self> {
        let text = std::str::from_utf8(fields.get(Known::SecWebsocketKey)?).ok()?.to_owned();
        Some(Self { text, is_own: false })
    }

    /// The key as the field has it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// What proves that the key was read (RFC 6455 §4.2.2).
    fn accept(&self) -> String {
        const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        let mut digest = Sha1::new();
        digest.update(&self.text);
        digest.update(SALT);
        STANDARD.encode(digest.finalize())
    }

    /// Checks what an instance has made of the key. A client's own proof is the client's to check,
    /// and an instance over HTTP/2, which does not answer 101, gives none.
    pub(super) fn check(&self, status: StatusCode, fields: &Fields) -> Result<(), Fault> {
        let is_due = self.is_own && status == StatusCode::SWITCHING_PROTOCOLS;
        let mut given = fields.all(Known::SecWebsocketAccept);
        if is_due && (given.next() != Some(self.accept().as_bytes()) || given.next().is_some()) {
            return Err(Fault::Answer("websocket-accept"));
        }
        Ok(())
    }

    /// Gives a client over HTTP/1 the proof that an instance over HTTP/2 has left out.
    pub(super) fn prove(&self, status: StatusCode, fields: &mut Fields) {
        if !self.is_own && status != StatusCode::SWITCHING_PROTOCOLS {
            fields.set_known(Known::SecWebsocketAccept, self.accept().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_client(text: &str) -> Key {
        let mut fields = Fields::new();
        fields.set_known(Known::SecWebsocketKey, text.as_bytes());
        Key::of_client(&fields).unwrap()
    }

    #[test]
    fn the_proof_is_the_one_of_rfc_6455() {
        let key = of_client("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut fields = Fields::new();
        key.prove(StatusCode::OK, &mut fields);
        assert_eq!(
            fields.get(Known::SecWebsocketAccept),
            Some(&b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..])
        );
    }

    #[test]
    fn only_the_gateways_own_key_is_checked() {
        let own = Key::own(7);
        assert_eq!(own.as_bytes().len(), 24);
        let mut fields = Fields::new();
        let wrong = Err(Fault::Answer("websocket-accept"));
        assert_eq!(own.check(StatusCode::SWITCHING_PROTOCOLS, &fields), wrong);
        assert_eq!(own.check(StatusCode::OK, &fields), Ok(()));
        assert_eq!(of_client("x").check(StatusCode::SWITCHING_PROTOCOLS, &fields), Ok(()));
        fields.set_known(Known::SecWebsocketAccept, own.accept().as_bytes());
        assert_eq!(own.check(StatusCode::SWITCHING_PROTOCOLS, &fields), Ok(()));
        assert_eq!(Key::own(8).check(StatusCode::SWITCHING_PROTOCOLS, &fields), wrong);
    }
}
