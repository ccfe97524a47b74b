//! What claims must say for a token to hold, and who they say it is. Pure: the same rules serve
//! signed tokens and what an issuer answers about opaque ones.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;
use serde_json::{Map, Value};

use crate::credential::Identity;
use crate::directory::Directory;
use crate::jwt::Flaw;

/// Where a claim is: its name, or the names of the objects around it and its own, with dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPath(Box<str>);

impl ClaimPath {
    pub(crate) fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// The claim. A claim whose own name has dots (`https://shop/roles`) goes before a path.
    pub(crate) fn of<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        if let Some(value) = claims.get(&*self.0) {
            return Some(value);
        }
        let mut names = self.0.split('.');
        let mut value = claims.get(names.next()?)?;
        for name in names {
            value = value.as_object()?.get(name)?;
        }
        Some(value)
    }

    /// Its words: of a string, separated by spaces, or of a list of strings.
    fn words(&self, claims: &Map<String, Value>) -> Vec<Box<str>> {
        match self.of(claims) {
            Some(Value::String(text)) => text.split_ascii_whitespace().map(Box::from).collect(),
            Some(Value::Array(items)) => {
                items.iter().filter_map(Value::as_str).map(Box::from).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What claims must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The one issuer; any when none is given.
    pub(crate) issuer: Option<Box<str>>,
    /// One of these must be in `aud`; anything may be when there are none.
    pub(crate) audience: Vec<Box<str>>,
    /// How far clocks may differ.
    pub(crate) leeway: Duration,
    /// Must be there, and not be null.
    pub(crate) required: Vec<ClaimPath>,
    /// How long ago it may have been issued.
    pub(crate) max_age: Option<Duration>,
    /// Whether `exp` must be there.
    pub(crate) expires: bool,
}

impl Rules {
    /// Until when these claims hold: the end of time without `exp`.
    ///
    /// # Errors
    /// The first rule that they break.
    pub(crate) fn check(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Timestamp, Flaw> {
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Flaw::Issuer);
        }
        if !self.audience.is_empty() && !self.is_meant(claims.get("aud")) {
            return Err(Flaw::Audience);
        }
        let mut until = Timestamp::from_millis(u64::MAX);
        match date(claims, "exp")? {
            Some(expires) => until = expires.plus(self.leeway),
            None if self.expires => return Err(Flaw::Missing),
            None => {}
        }
        if date(claims, "nbf")?.is_some_and(|from| from > now.plus(self.leeway)) {
            return Err(Flaw::NotYet);
        }
        let issued = date(claims, "iat")?;
        if issued.is_some_and(|issued| issued > now.plus(self.leeway)) {
            return Err(Flaw::NotYet);
        }
        if let Some(max_age) = self.max_age {
            let oldest = issued.ok_or(Flaw::Missing)?.plus(max_age).plus(self.leeway);
            until = until.min(oldest);
        }
        if now >= until {
            return Err(Flaw::Expired);
        }
        let missing = |path: &ClaimPath| path.of(claims).is_none_or(Value::is_null);
        if self.required.iter().any(missing) {
            return Err(Flaw::Missing);
        }
        Ok(until)
    }

    fn is_meant(&self, audience: Option<&Value>) -> bool {
        let wanted = |name: &str| self.audience.iter().any(|wanted| **wanted == *name);
        match audience {
            Some(Value::String(name)) => wanted(name),
            Some(Value::Array(names)) => {
                names.iter().all(Value::is_string)
                    && names.iter().filter_map(Value::as_str).any(wanted)
            }
            _ => false,
        }
    }
}

/// A date of RFC 7519 §2: seconds since 1970, perhaps with a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Flaw> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1000))));
    }
    let seconds = value.as_f64().ok_or(Flaw::Malformed)?;
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Flaw::Malformed)?;
    Ok(Some(Timestamp::default().plus(since)))
}

/// Who claims say it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) subject: ClaimPath,
    /// The subject of what has no other: a client that acts for itself.
    pub(crate) client: Option<ClaimPath>,
    pub(crate) scopes: ClaimPath,
    pub(crate) roles: Option<ClaimPath>,
    pub(crate) consumer: Option<ClaimPath>,
}

impl Mapping {
    /// The identity that `provider` proved by these claims. A consumer that nobody knows is none.
    ///
    /// # Errors
    /// When the claims name no subject.
    pub(crate) fn identity(
        &self,
        provider: &Arc<str>,
        claims: Map<String, Value>,
        directory: &dyn Directory,
    ) -> Result<Identity, Flaw> {
        let subject = match (self.subject.of(&claims), &self.client) {
            (None, Some(client)) => client.of(&claims),
            (subject, _) => subject,
        };
        let subject = subject.and_then(Value::as_str).filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(Flaw::Missing)?;
        let mut identity = Identity {
            provider: Arc::clone(provider),
            subject: subject.into(),
            scopes: self.scopes.words(&claims),
            roles: self.roles.as_ref().map(|path| path.words(&claims)).unwrap_or_default(),
            ..Identity::default()
        };
        if let Some(name) = self.consumer.as_ref().and_then(|path| path.of(&claims)?.as_str())
            && let Some(consumer) = directory.find(name)
        {
            identity.consumer = Some(name.into());
            identity.plan = consumer.plan;
            for role in consumer.roles {
                if !identity.roles.contains(&role) {
                    identity.roles.push(role);
                }
            }
        }
        identity.claims = claims;
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;
    use crate::directory::{Consumer, NoConsumers};

    const NOW: u64 = 1_800_000_000;

    fn check(rules: &Rules, claims: Value) -> Result<Timestamp, Flaw> {
        let Value::Object(claims) = claims else { panic!("an object") };
        rules.check(&claims, Timestamp::from_millis(NOW * 1000))
    }

    fn rules() -> Rules {
        Rules {
            issuer: Some("https://idp".into()),
            audience: vec!["shop".into()],
            leeway: Duration::from_secs(30),
            required: vec![ClaimPath::new("org.id")],
            max_age: None,
            expires: true,
        }
    }

    #[test]
    fn each_rule_refuses_alone() {
        let good =
            json!({"iss": "https://idp", "aud": ["x", "shop"], "exp": NOW + 1, "org": {"id": 1}});
        assert!(check(&rules(), good.clone()).is_ok());
        for (name, value, flaw) in [
            ("iss", json!("https://idp/"), Flaw::Issuer),
            ("iss", json!(["https://idp"]), Flaw::Issuer),
            ("iss", Value::Null, Flaw::Issuer),
            ("aud", json!("SHOP"), Flaw::Audience),
            ("aud", json!("shop shop"), Flaw::Audience),
            ("aud", json!(["shop", 1]), Flaw::Audience),
            ("aud", json!([]), Flaw::Audience),
            ("aud", json!({"shop": 1}), Flaw::Audience),
            ("exp", json!(NOW - 30), Flaw::Expired),
            ("exp", json!(0), Flaw::Expired),
            ("exp", json!("9999999999"), Flaw::Malformed),
            ("exp", json!(-1), Flaw::Malformed),
            ("exp", Value::Null, Flaw::Malformed),
            ("nbf", json!(NOW + 31), Flaw::NotYet),
            ("nbf", json!("soon"), Flaw::Malformed),
            ("iat", json!(NOW + 31), Flaw::NotYet),
            ("org", json!({"id": null}), Flaw::Missing),
            ("org", json!("id"), Flaw::Missing),
        ] {
            let mut bad = good.clone();
            bad[name] = value.clone();
            assert_eq!(check(&rules(), bad), Err(flaw), "{name} {value}");
        }
        for name in ["iss", "aud", "exp", "org"] {
            let mut bad = good.clone();
            bad.as_object_mut().expect("an object").remove(name);
            assert!(check(&rules(), bad).is_err(), "{name}");
        }
    }

    #[test]
    fn leeway_counts_both_ways_and_no_further() {
        let with = |name: &str, at: u64| {
            let mut claims =
                json!({"iss": "https://idp", "aud": "shop", "exp": NOW + 60, "org": {"id": 1}});
            claims[name] = json!(at);
            check(&rules(), claims).is_ok()
        };
        assert!(with("exp", NOW - 29) && !with("exp", NOW - 30));
        assert!(with("nbf", NOW + 30) && !with("nbf", NOW + 31));
        assert!(with("iat", NOW + 30) && !with("iat", NOW + 31));
    }

    #[test]
    fn age_is_bounded_where_asked() {
        let rules = Rules { max_age: Some(Duration::from_secs(60)), ..rules() };
        let claims = |iat: Value| json!({"iss": "https://idp", "aud": "shop", "exp": NOW + 900, "iat": iat, "org": {"id": 1}});
        let until = Timestamp::from_millis((NOW + 40) * 1000);
        assert_eq!(check(&rules, claims(json!(NOW - 50))), Ok(until));
        assert_eq!(check(&rules, claims(json!(NOW - 90))), Err(Flaw::Expired));
        assert_eq!(
            check(
                &rules,
                json!({"iss": "https://idp", "aud": "shop", "exp": NOW + 9, "org": {"id": 1}})
            ),
            Err(Flaw::Missing)
        );
    }

    struct Acme;

    impl Directory for Acme {
        fn version(&self) -> u64 {
            1
        }

        fn find(&self, name: &str) -> Option<Consumer> {
            let acme = Consumer { plan: Some("gold".into()), roles: vec!["buyer".into()] };
            (name == "acme").then_some(acme)
        }
    }

    fn mapping() -> Mapping {
        Mapping {
            subject: ClaimPath::new("sub"),
            client: None,
            scopes: ClaimPath::new("scope"),
            roles: Some(ClaimPath::new("realm_access.roles")),
            consumer: Some(ClaimPath::new("azp")),
        }
    }

    fn map(claims: Value, directory: &dyn Directory) -> Result<Identity, Flaw> {
        let Value::Object(claims) = claims else { panic!("an object") };
        mapping().identity(&Arc::from("shop"), claims, directory)
    }

    #[test]
    fn scopes_and_roles_come_as_words_or_lists() {
        for scope in [json!("a b"), json!(" a  b "), json!(["a", "b"]), json!(["a", 1, "b"])] {
            let claims = json!({"sub": "u", "scope": scope, "realm_access": {"roles": ["r"]}, "azp": "acme"});
            let identity = map(claims, &Acme).expect("it names a subject");
            assert_eq!(identity.scopes, ["a".into(), "b".into()]);
            assert_eq!(identity.roles, ["r".into(), "buyer".into()]);
            assert_eq!(identity.plan.as_deref(), Some("gold"));
        }
        let unknown = map(json!({"sub": "u", "azp": "acme"}), &NoConsumers).expect("a subject");
        assert_eq!((unknown.consumer, unknown.plan), (None, None));
        for bad in [json!({}), json!({"sub": ""}), json!({"sub": 1}), json!({"sub": ["u"]})] {
            assert_eq!(map(bad, &Acme).err(), Some(Flaw::Missing));
        }
    }

    #[test]
    fn a_name_with_dots_goes_before_a_path() {
        let claims = json!({"a.b": 1, "a": {"b": 2}});
        let claims = claims.as_object().expect("an object");
        assert_eq!(ClaimPath::new("a.b").of(claims), Some(&json!(1)));
        assert_eq!(ClaimPath::new("a").of(claims), Some(&json!({"b": 2})));
        assert_eq!(ClaimPath::new("a.b.c").of(claims), None);
    }

    proptest! {
        #[test]
        fn nothing_holds_beyond_what_it_says(exp in any::<u64>(), now in any::<u64>(), leeway in 0_u64..1_000_000) {
            let rules = Rules { leeway: Duration::from_secs(leeway), expires: true, ..Rules::default() };
            let claims = json!({"exp": exp});
            let now = Timestamp::from_millis(now);
            let result = rules.check(claims.as_object().expect("an object"), now);
            let end = exp.saturating_mul(1000).saturating_add(leeway * 1000);
            prop_assert_eq!(result.is_ok(), now.as_millis() < end);
            if let Ok(until) = result {
                prop_assert!(until > now);
            }
        }

        #[test]
        fn any_date_is_read_or_refused(seconds in any::<f64>()) {
            let claims = json!({"exp": seconds});
            let _read = date(claims.as_object().expect("an object"), "exp");
        }
    }
}
