//! Who may do what over the Consul HTTP API: tokens with rules, as written and as checked.
//!
//! Tokens come from the configuration and are kept as digests only, so that no log or dump shows
//! them; a guess is compared with all of them, byte by byte to the end, so that the time it takes
//! says nothing. A rule counts for names that begin with what it is given for, and of several the
//! longest one.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_base::config::{Path, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The shortest secret that is accepted, in characters.
const MIN_SECRET: usize = 16;

/// Who may do what over the Consul HTTP API. Requests bring a token as `X-Consul-Token: SECRET`,
/// `Authorization: Bearer SECRET` or `?token=SECRET`. Without this section everybody may do
/// everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RegistryTokens")]
pub struct RawTokens {
    /// What goes where no rule says anything.
    pub default: RawDefault,
    /// What requests without a token may do, and DNS.
    pub anonymous: RawRules,
    /// The tokens.
    pub named: Vec<RawToken>,
}

/// What goes where no rule says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RegistryDefaultAccess")]
pub enum RawDefault {
    /// Everything.
    Allow,
    /// Nothing.
    #[default]
    Deny,
}

/// A token, with what its bearer may do. It has a `secret` or a `sha256`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RegistryToken")]
pub struct RawToken {
    /// Its name, for messages.
    pub name: String,
    /// The token; at least 16 characters. Better not written here but filled in: `${env:NAME}`.
    pub secret: Option<String>,
    /// In place of the token its SHA-256, as 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// What its bearer may do.
    pub rules: RawRules,
}

/// What somebody may do: for each kind of thing, by what names begin with (`""` for all names) the
/// access; of several that fit, the longest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RegistryRules")]
pub struct RawRules {
    /// Keys and their values, by key.
    pub key: BTreeMap<String, Level>,
    /// Services: their instances and checks, by the service's name.
    pub service: BTreeMap<String, Level>,
    /// Nodes and their checks, by the node's name.
    pub node: BTreeMap<String, Level>,
    /// Sessions, by the name of their node.
    pub session: BTreeMap<String, Level>,
    /// User events, by their name.
    pub event: BTreeMap<String, Level>,
    /// What the registry says of itself.
    pub agent: Option<Level>,
}

/// What may be done.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RegistryAccess")]
pub enum Level {
    /// Nothing.
    Deny,
    /// To read.
    Read,
    /// To read and to write.
    Write,
}

/// A kind of thing that there are rules for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    Service,
    Node,
    Session,
    Event,
    Agent,
}

/// Every token, and what goes without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    anonymous: Arc<Grant>,
    /// `None` when there are no tokens, and so no rules.
    named: Option<Vec<(Hash, Arc<Grant>)>>,
}

/// What one bearer may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The token's name; `None` without one.
    name: Option<String>,
    rules: RawRules,
    default: Level,
}

/// A token's digest.
#[derive(Clone, PartialEq, Eq)]
struct Hash([u8; 32]);

impl Access {
    /// Checks `raw`, which stands at `path`; what is mistaken is noted in `report` and left out.
    pub(crate) fn check(raw: Option<&RawTokens>, path: &Path, report: &mut Report) -> Self {
        let Some(raw) = raw else { return Self::default() };
        let default = match raw.default {
            RawDefault::Allow => Level::Write,
            RawDefault::Deny => Level::Deny,
        };
        let anonymous = Grant { name: None, rules: raw.anonymous.clone(), default };
        let mut named: Vec<(Hash, Arc<Grant>)> = Vec::new();
        for (number, token) in raw.named.iter().enumerate() {
            let path = path.key("named").index(number);
            if token.name.is_empty() {
                report.error(&path.key("name"), "a token needs a name");
            }
            let Some(hash) = Hash::check(token, &path, report) else { continue };
            if let Some((_, earlier)) = named.iter().find(|(known, _)| *known == hash) {
                let earlier = earlier.name.as_deref().unwrap_or_default();
                report.error(&path, format!("this is the same token as that of `{earlier}`"));
                continue;
            }
            let (name, rules) = (Some(token.name.clone()), token.rules.clone());
            named.push((hash, Arc::new(Grant { name, rules, default })));
        }
        Self { anonymous: Arc::new(anonymous), named: Some(named) }
    }

    /// What a request without a token may do.
    pub(crate) const fn anonymous(&self) -> &Arc<Grant> {
        &self.anonymous
    }

    /// Whether there are rules.
    pub(crate) const fn is_on(&self) -> bool {
        self.named.is_some()
    }

    /// What the bearer of `secret` may do; `None` when nobody has such a token. Where there are no
    /// tokens any will do: clients bring one out of habit.
    pub(crate) fn bearer(&self, secret: &str) -> Option<&Arc<Grant>> {
        let Some(named) = &self.named else { return Some(&self.anonymous) };
        let guess = Hash::of(secret);
        // All are looked at, whichever it is.
        let fits = named.iter().filter(|(hash, _)| hash.is(&guess));
        fits.fold(None, |_, (_, grant)| Some(grant))
    }
}

impl Default for Access {
    /// Everybody may do everything.
    fn default() -> Self {
        let rules = RawRules::default();
        let all = Grant { name: None, rules, default: Level::Write };
        Self { anonymous: Arc::new(all), named: None }
    }
}

impl Grant {
    /// The token's name; `None` without one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn may_read(&self, kind: Kind, name: &str) -> bool {
        self.level(kind, name) >= Level::Read
    }

    pub(crate) fn may_write(&self, kind: Kind, name: &str) -> bool {
        self.level(kind, name) >= Level::Write
    }

    /// Whether everything of a kind may be written whose name begins with `prefix`.
    pub(crate) fn may_write_below(&self, kind: Kind, prefix: &str) -> bool {
        let below =
            self.rules_for(kind).into_iter().flat_map(|rules| rules.range(prefix.to_owned()..));
        let mut below = below.take_while(|(name, _)| name.starts_with(prefix));
        self.may_write(kind, prefix) && below.all(|(_, level)| *level >= Level::Write)
    }

    fn level(&self, kind: Kind, name: &str) -> Level {
        if kind == Kind::Agent {
            return self.rules.agent.unwrap_or(self.default);
        }
        let rules = self.rules_for(kind).into_iter();
        // Of what `name` begins with, what is longer comes later in the order.
        let mut before = rules.flat_map(|rules| rules.range(..=name.to_owned()).rev());
        before
            .find(|(prefix, _)| name.starts_with(*prefix))
            .map_or(self.default, |(_, level)| *level)
    }

    const fn rules_for(&self, kind: Kind) -> Option<&BTreeMap<String, Level>> {
        match kind {
            Kind::Key => Some(&self.rules.key),
            Kind::Service => Some(&self.rules.service),
            Kind::Node => Some(&self.rules.node),
            Kind::Session => Some(&self.rules.session),
            Kind::Event => Some(&self.rules.event),
            Kind::Agent => None,
        }
    }
}

impl Kind {
    /// The word for it, as Consul spells it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Service => "service",
            Self::Node => "node",
            Self::Session => "session",
            Self::Event => "event",
            Self::Agent => "agent",
        }
    }
}

impl Hash {
    fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    fn check(token: &RawToken, path: &Path, report: &mut Report) -> Option<Self> {
        match (&token.secret, &token.sha256) {
            (Some(secret), None) if secret.chars().count() >= MIN_SECRET => Some(Self::of(secret)),
            (Some(_), None) => {
                let message = format!("a token has at least {MIN_SECRET} characters");
                report.error(&path.key("secret"), message).help("make one with `uuidgen`");
                None
            }
            (None, Some(hash)) => {
                let read = Self::from_hex(hash);
                if read.is_none() {
                    let help = "make it with `printf %s TOKEN | sha256sum`";
                    let message = "this is not a SHA-256 in 64 hexadecimal digits";
                    report.error(&path.key("sha256"), message).help(help);
                }
                read
            }
            (Some(_), Some(_)) | (None, None) => {
                report.error(path, "a token has either a `secret` or a `sha256`");
                None
            }
        }
    }

    fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// Whether both are the same. All bytes are looked at.
    fn is(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0);
        pairs.fold(0, |differing, (ours, theirs)| differing | (ours ^ theirs)) == 0
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(raw: &RawTokens) -> (Access, Vec<String>) {
        let mut report = Report::new();
        let access = Access::check(Some(raw), &Path::root().key("tokens"), &mut report);
        let paths = report.findings().iter().map(|finding| finding.path.to_string());
        (access, paths.collect())
    }

    fn rules(key: &[(&str, Level)]) -> RawRules {
        let key = key.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
        RawRules { key, ..RawRules::default() }
    }

    #[test]
    fn the_longest_rule_counts() {
        let rules =
            rules(&[("", Level::Read), ("app/", Level::Write), ("app/secret", Level::Deny)]);
        let raw = RawTokens { anonymous: rules, ..RawTokens::default() };
        let access = checked(&raw).0;
        let grant = access.anonymous();
        for (key, read, write) in [
            ("other", true, false),
            ("app", true, false),
            ("app/a", true, true),
            ("app/s", true, true),
            ("app/secret", false, false),
            ("app/secrets/a", false, false),
            ("app/zebra", true, true),
        ] {
            assert_eq!(grant.may_read(Kind::Key, key), read, "{key}");
            assert_eq!(grant.may_write(Kind::Key, key), write, "{key}");
        }
        assert!(!grant.may_write_below(Kind::Key, "app/"), "a part of it may not be written");
        assert!(grant.may_write_below(Kind::Key, "app/t"));
        assert!(!grant.may_write_below(Kind::Key, ""));
        assert!(!grant.may_read(Kind::Service, "web"), "what no rule mentions is denied");
    }

    #[test]
    fn a_token_is_known_by_its_secret_or_its_hash() {
        let secret = "0123456789abcdef";
        let hash = Sha256::digest(b"fedcba9876543210");
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let token = |name: &str| RawToken { name: name.into(), ..RawToken::default() };
        let named = vec![
            RawToken { secret: Some(secret.into()), ..token("a") },
            RawToken { sha256: Some(hash), ..token("b") },
        ];
        let (access, mistakes) = checked(&RawTokens { named, ..RawTokens::default() });
        assert_eq!(mistakes, Vec::<String>::new());
        let name = |secret| access.bearer(secret).and_then(|grant| grant.name());
        assert_eq!(name(secret), Some("a"));
        assert_eq!(name("fedcba9876543210"), Some("b"));
        assert_eq!((name(""), name("0123456789abcde")), (None, None));
        assert!(!format!("{access:?}").contains("012345"));
    }

    #[test]
    fn without_tokens_everybody_may_do_everything() {
        let access = Access::default();
        assert!(access.anonymous().may_write(Kind::Key, "a"));
        assert!(access.bearer("anything").is_some_and(|grant| grant.may_write(Kind::Agent, "")));
    }

    #[test]
    fn every_mistake_is_found() {
        let good =
            RawToken { name: "a".into(), secret: Some("x".repeat(16)), ..RawToken::default() };
        let named = vec![
            good.clone(),
            RawToken { name: "same".into(), ..good.clone() },
            RawToken { secret: Some("short".into()), ..good.clone() },
            RawToken { secret: None, sha256: Some("é".repeat(32)), ..good.clone() },
            RawToken { secret: None, ..good.clone() },
            RawToken { name: String::new(), secret: Some("y".repeat(16)), ..good },
        ];
        let (_, mistakes) = checked(&RawTokens { named, ..RawTokens::default() });
        assert_eq!(
            mistakes,
            [
                "tokens.named[1]",
                "tokens.named[2].secret",
                "tokens.named[3].sha256",
                "tokens.named[4]",
                "tokens.named[5].name"
            ]
        );
    }
}
