//! A provider of signed tokens, as written and as checked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use posthouse_base::config::{Path, Report, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::algorithm::{Algorithm, Kind};
use super::key::{Key, Keys};
use super::source::{Pace, Place};
use crate::asking::objection;
use crate::claims::{ClaimPath, Mapping, Rules};
use crate::secret::Secret;

/// Where an issuer describes itself.
const DESCRIPTION: &str = "/.well-known/openid-configuration";

/// Signed tokens of an issuer (JSON Web Tokens). Keys come from one of `jwks`, `keys` and `secret`,
/// or from where the issuer's own description says (OpenID Connect Discovery).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityJwt")]
pub struct Raw {
    /// What `iss` must be, exactly. A token of another issuer is left to the next provider of the
    /// route.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audience: Vec<String>,
    /// Takes tokens for any audience, also those that were meant for others.
    pub any_audience: bool,
    /// URL of the issuer's JWK set.
    pub jwks: Option<String>,
    /// File with keys: a JWK set, or PEM with public keys or certificates. It is read again when it
    /// changes.
    pub keys: Option<PathBuf>,
    /// Shared secret for `HS256` (32 bytes at least), `HS384` (48) and `HS512` (64). Whoever knows it
    /// can make tokens.
    pub secret: Option<Secret>,
    /// Algorithms that are taken. Without it all but those with a shared secret; with `secret`,
    /// `HS256`.
    pub algorithms: Vec<Algorithm>,
    /// Kinds of token that are taken (`typ`, without `application/`), when a token names its kind.
    pub types: Vec<String>,
    /// How far the issuer's clock and ours may differ.
    pub leeway: Span,
    /// How long ago a token may have been issued (`iat`), whatever it says itself.
    pub max_age: Option<Span>,
    /// Claims that must be there. `exp` and `sub` always must.
    pub required: Vec<String>,
    /// The claim with the subject.
    pub subject: String,
    /// The claim with the scopes: a string with spaces, or a list.
    pub scopes: String,
    /// The claim with the roles; `realm_access.roles` is one inside another.
    pub roles: Option<String>,
    /// The claim with the name of the consumer: `azp` or `client_id`. Its plan and its roles are those
    /// of the consumer.
    pub consumer: Option<String>,
    /// The header with the token, after `Bearer ` in `authorization`, alone in others.
    pub header: String,
    /// The longest token; a longer one is refused.
    pub max_token: Size,
    /// How often keys are fetched again.
    pub refresh: Span,
    /// How long after keys were fetched they may be fetched again because a token names a key that is
    /// not among them.
    pub refetch: Span,
    /// How long keys are good while the issuer cannot be asked.
    pub stale: Span,
    /// How long the issuer may take to answer.
    pub timeout: Span,
    /// File with the certificates (PEM) of the authorities that the issuer is trusted by, in place of
    /// the system's.
    pub ca: Option<PathBuf>,
    /// Asks the issuer over `http` too. Whoever is in between could then hand out keys. Within this
    /// machine it is allowed anyway.
    pub plain_http: bool,
    /// Memory for tokens that were verified; 0B verifies each anew.
    pub cache: Size,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            any_audience: false,
            jwks: None,
            keys: None,
            secret: None,
            algorithms: Vec::new(),
            types: vec!["jwt".into(), "at+jwt".into()],
            leeway: Span(Duration::from_secs(30)),
            max_age: None,
            required: Vec::new(),
            subject: "sub".into(),
            scopes: "scope".into(),
            roles: None,
            consumer: None,
            header: "authorization".into(),
            max_token: Size(8 << 10),
            refresh: Span(Duration::from_secs(600)),
            refetch: Span(Duration::from_secs(5)),
            stale: Span(Duration::from_secs(86_400)),
            timeout: Span(Duration::from_secs(5)),
            ca: None,
            plain_http: false,
            cache: Size(32 << 20),
        }
    }
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(super) place: Place,
    pub(super) secret: Option<Secret>,
    pub(super) algorithms: BTreeSet<Algorithm>,
    pub(super) types: Vec<Box<str>>,
    pub(super) rules: Rules,
    pub(super) mapping: Mapping,
    /// In lower case.
    pub(super) header: Box<str>,
    pub(super) max_token: usize,
    pub(super) pace: Pace,
    pub(super) timeout: Duration,
    pub(super) ca: Option<PathBuf>,
    pub(super) plain: bool,
    pub(super) cache: usize,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        if raw.issuer.is_empty() {
            report.error(&path.key("issuer"), "the issuer is missing");
        }
        if raw.audience.is_empty() && !raw.any_audience {
            let message = "without an audience, tokens that were meant for others would be taken";
            let help = "name what is in `aud`, or set `any_audience: true`";
            report.error(&path.key("audience"), message).help(help);
        }
        let place = check_place(raw, path, report);
        let algorithms = check_algorithms(raw, path, report);
        let header = check_header(&raw.header, &path.key("header"), report);
        if let Some(ca) = &raw.ca {
            check_readable(ca, &path.key("ca"), report);
        }
        for (key, span) in [("refresh", raw.refresh), ("refetch", raw.refetch)] {
            if span.0 < Duration::from_secs(1) {
                report.error(&path.key(key), "an issuer is not asked more than once a second");
            }
        }
        if raw.timeout.0.is_zero() {
            report.error(&path.key("timeout"), "no issuer answers in no time");
        }
        Some(Self {
            place: place?,
            secret: raw.secret.clone(),
            algorithms,
            types: raw.types.iter().map(|kind| kind.to_ascii_lowercase().into()).collect(),
            rules: Rules {
                issuer: Some(raw.issuer.as_str().into()),
                audience: raw.audience.iter().map(|name| name.as_str().into()).collect(),
                leeway: raw.leeway.0,
                required: raw.required.iter().map(|claim| ClaimPath::new(claim)).collect(),
                max_age: raw.max_age.map(|span| span.0),
                expires: true,
            },
            mapping: Mapping {
                subject: ClaimPath::new(&raw.subject),
                client: None,
                scopes: ClaimPath::new(&raw.scopes),
                roles: raw.roles.as_deref().map(ClaimPath::new),
                consumer: raw.consumer.as_deref().map(ClaimPath::new),
            },
            header: header?,
            max_token: bytes(raw.max_token),
            pace: Pace { refresh: raw.refresh.0, refetch: raw.refetch.0, stale: raw.stale.0 },
            timeout: raw.timeout.0,
            ca: raw.ca.clone(),
            plain: raw.plain_http,
            cache: bytes(raw.cache),
        })
    }
}

/// A size as the machine counts.
pub(crate) fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// A header's name, in lower case.
pub(crate) fn check_header(name: &str, path: &Path, report: &mut Report) -> Option<Box<str>> {
    match http::HeaderName::try_from(name) {
        Ok(name) => Some(name.as_str().into()),
        Err(_) => {
            report.error(path, format!("`{name}` is not the name of a header"));
            None
        }
    }
}

/// A URL that may be asked.
pub(crate) fn check_url(url: &str, plain: bool, path: &Path, report: &mut Report) -> Option<Uri> {
    let uri = url.parse::<Uri>();
    let objection = match &uri {
        Ok(uri) => objection(uri, plain),
        Err(_) => Some("is not a URL"),
    };
    if let Some(objection) = objection {
        // Without the URL: it may have a password in it.
        let finding = report.error(path, format!("the URL {objection}"));
        if objection.contains("encrypted") {
            finding.help("use `https`, or set `plain_http: true` where nobody can be in between");
        }
        return None;
    }
    uri.ok()
}

/// A file that is needed must be readable when the configuration is taken.
pub(crate) fn check_readable(
    file: &std::path::Path,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<u8>> {
    match std::fs::read(file) {
        Ok(text) => Some(text),
        Err(error) => {
            report.error(path, format!("{} cannot be read: {error}", file.display()));
            None
        }
    }
}

fn check_place(raw: &Raw, path: &Path, report: &mut Report) -> Option<Place> {
    let given = [raw.jwks.is_some(), raw.keys.is_some(), raw.secret.is_some()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        report.error(path, "keys come from one of `jwks`, `keys` and `secret`");
        return None;
    }
    if let Some(url) = &raw.jwks {
        return check_url(url, raw.plain_http, &path.key("jwks"), report).map(Place::Url);
    }
    if let Some(file) = &raw.keys {
        let at = path.key("keys");
        let text = check_readable(file, &at, report)?;
        if let Err(error) = Keys::from_file(&text) {
            report.error(&at, format!("{}: {error}", file.display()));
            return None;
        }
        return Some(Place::File(file.clone()));
    }
    if raw.secret.is_some() {
        return Some(Place::Fixed);
    }
    let at = format!("{}{DESCRIPTION}", raw.issuer.trim_end_matches('/'));
    let at = check_url(&at, raw.plain_http, &path.key("issuer"), report)?;
    Some(Place::Discovery { issuer: raw.issuer.as_str().into(), at })
}

fn check_algorithms(raw: &Raw, path: &Path, report: &mut Report) -> BTreeSet<Algorithm> {
    let at = path.key("algorithms");
    let mut chosen: BTreeSet<Algorithm> = raw.algorithms.iter().copied().collect();
    if chosen.is_empty() {
        match raw.secret {
            Some(_) => chosen.extend([Algorithm::Hs256]),
            None => chosen.extend(Algorithm::PUBLIC),
        }
    }
    let shared = |algorithm: &Algorithm| algorithm.kind() == Kind::Secret;
    if raw.secret.is_none() && raw.keys.is_none() && chosen.iter().any(shared) {
        let message = "what can be read over the network is no shared secret";
        report.error(&at, message).help("give `secret` or `keys` for HS256, HS384 and HS512");
    }
    if let Some(secret) = &raw.secret {
        for algorithm in &chosen {
            if !shared(algorithm) {
                report.error(&at, format!("{algorithm} takes a public key, not a secret"));
            } else if !Key::secret(secret.reveal().as_bytes()).fits(*algorithm) {
                let shortest = algorithm.shortest_secret();
                let message = format!("{algorithm} takes a secret of {shortest} bytes or more");
                report.error(&path.key("secret"), message);
            }
        }
    }
    chosen
}
