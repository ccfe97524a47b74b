//! A token taken apart (RFC 7515 §7.1, compact form), before anything of it is believed.
//!
//! What is malformed or says anything twice is refused. Of the header only `alg`, `kid`, `typ` and
//! `crit` are read: a token does not say where its keys are (`jku`, `x5u`) or what they are (`jwk`,
//! `x5c`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use crate::json;

/// A token as it came.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    /// What is signed: header and claims in their written form.
    pub(crate) signed: &'a [u8],
    /// By what algorithm it says that it is signed.
    pub(crate) algorithm: Algorithm,
    /// The name of the key.
    pub(crate) key: Option<String>,
    /// What it is meant for, in lower case and without `application/`.
    pub(crate) kind: Option<String>,
    /// What it claims.
    pub(crate) claims: Map<String, Value>,
    /// The signature, of at least one byte.
    pub(crate) signature: Vec<u8>,
}

/// What is wrong with a token. Told to operators by metrics, never to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Doubled,
    TooLong,
    Malformed,
    Critical,
    Algorithm,
    Type,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Missing,
    UnknownKey,
    Signature,
    Inactive,
}

impl Flaw {
    /// In one word, for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Doubled => "doubled",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Critical => "critical_header",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet_valid",
            Self::Missing => "claim_missing",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Inactive => "inactive",
        }
    }
}

/// Whether this could be a signed token at all: three parts.
pub(crate) fn has_shape(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'.').count() == 2
}

impl<'a> Token<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// When it is not of the form, or asks for something that we do not have.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Flaw> {
        let mut dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Flaw::Malformed);
        };
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Malformed);
        let object = |part: &[u8]| json::object(&decode(part)?).ok_or(Flaw::Malformed);
        let header = object(&text[..first])?;
        // We understand no extension, and one that is critical must be understood (RFC 7515 §4.1.11).
        // `b64` changes what is signed, and must be critical: so it is never of use alone.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Flaw::Critical);
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => Algorithm::named(name).ok_or(Flaw::Algorithm)?,
            _ => return Err(Flaw::Algorithm),
        };
        let text_of = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Flaw::Malformed),
        };
        let kind = text_of("typ")?.map(|kind| {
            let kind = kind.to_ascii_lowercase();
            kind.strip_prefix("application/").map(str::to_owned).unwrap_or(kind)
        });
        let signature = decode(&text[second + 1..])?;
        if signature.is_empty() {
            return Err(Flaw::Signature);
        }
        Ok(Self {
            signed: &text[..second],
            algorithm,
            key: text_of("kid")?,
            kind,
            claims: object(&text[first + 1..second])?,
            signature,
        })
    }
}
