//! Names in certificates, and who they are.

use std::net::SocketAddr;

use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use proptest::prelude::{prop, prop_assert_eq, proptest};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair, SanType,
};
use serde_json::json;

use super::{Config, Provider, Raw, RawBy, RawStrangers, name};
use crate::consumers::{Consumers, Declared, Limits};
use crate::credential::{Credentials, Fields, Outcome, Refusal};
use crate::provider::Finding;

struct NoFields;

impl Fields for NoFields {
    fn visit<'s>(&'s self, _: &mut dyn FnMut(&'s [u8], &'s [u8])) {}
}

/// A certificate with this subject and these URIs.
fn certificate(subject: &[(DnType, &str)], uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("ASCII"));
    params.subject_alt_names = uris.iter().map(uri).collect();
    params
}

fn der(params: &CertificateParams) -> Box<[u8]> {
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").der().to_vec().into()
}

async fn provider(raw: Raw) -> Provider {
    let declared = serde_json::from_value(json!({
        "acme": { "plan": "gold", "certificates": ["CN=till, O=Acme", "spiffe://example.org/till"] },
        "comma": { "certificates": ["CN=till\\,O=Acme"] },
    }));
    let mut report = Report::new();
    let declared = Declared::check(&declared.expect("a section"), &Path::root(), &mut report);
    let declared = declared.expect("no mistakes");
    let consumers = Consumers::start(declared, None, Limits::default(), &Tasks::new()).await;
    Provider {
        name: "mtls".into(),
        config: Config::check(&raw, &Path::root(), &mut report).expect("no mistakes"),
        consumers: consumers.expect("a start"),
        metrics: Default::default(),
        known: crate::cache::Cache::new(super::REMEMBERED),
    }
}

/// Who shows this certificate: subject and consumer, or the word for why it is nobody.
fn ask(provider: &Provider, chain: &[Box<[u8]>]) -> Result<(String, Option<String>), &'static str> {
    let asked = Credentials {
        method: &Method::GET,
        scheme: "https",
        authority: b"example.org",
        path_and_query: b"/",
        fields: &NoFields,
        client: SocketAddr::from(([127, 0, 0, 1], 1)),
        chain,
        now: Timestamp::now(),
    };
    match provider.identify(&asked) {
        Finding::Absent => Err("absent"),
        Finding::Foreign => Err("foreign"),
        Finding::Decided(Outcome::Known(identity)) => {
            let consumer = identity.consumer.as_deref().map(str::to_owned);
            assert_eq!(identity.plan.is_some(), consumer.as_deref() == Some("acme"));
            Ok((identity.subject.to_string(), consumer))
        }
        Finding::Decided(Outcome::Refused(Refusal::Invalid)) => Err("refused"),
        finding => panic!("{finding:?}"),
    }
}

#[tokio::test]
async fn a_subject_is_a_consumers_when_it_is_the_same() {
    let provider = provider(Raw::default()).await;
    let show = |subject: &[(DnType, &str)]| ask(&provider, &[der(&certificate(subject, &[]))]);
    let organization = || DnType::OrganizationName;
    let acme = show(&[(organization(), "Acme"), (DnType::CommonName, "till")]);
    assert_eq!(acme, Ok(("CN=till,O=Acme".into(), Some("acme".into()))));
    // A name that holds what looks like another part is another name.
    let comma = show(&[(DnType::CommonName, "till,O=Acme")]);
    assert_eq!(comma, Ok(("CN=till\\,O\\=Acme".into(), Some("comma".into()))));
    for (subject, written) in [
        (vec![(DnType::CommonName, "till"), (organization(), "Acme")], "O=Acme,CN=till"),
        (vec![(organization(), "acme"), (DnType::CommonName, "till")], "CN=till,O=acme"),
        (vec![(DnType::CommonName, "till")], "CN=till"),
        (vec![(organization(), "Acme"), (DnType::CommonName, " till")], "CN=\\ till,O=Acme"),
        (vec![(organization(), "Acme"), (DnType::CommonName, "till\0")], "CN=till\\00,O=Acme"),
    ] {
        assert_eq!(show(&subject), Ok((written.into(), None)));
    }
    assert_eq!(show(&[]), Err("foreign"));
    assert_eq!(ask(&provider, &[]), Err("absent"));
    assert_eq!(ask(&provider, &[Box::from(*b"no certificate")]), Err("refused"));
}

#[tokio::test]
async fn strangers_are_refused_where_that_is_asked_for() {
    let raw = Raw { strangers: RawStrangers::Refuse, ..Raw::default() };
    let provider = provider(raw).await;
    let stranger = der(&certificate(&[(DnType::CommonName, "x")], &[]));
    assert_eq!(ask(&provider, &[stranger]), Err("refused"));
}

#[tokio::test]
async fn what_is_remembered_follows_changes() {
    let provider = provider(Raw::default()).await;
    let show = |name: &str| {
        let subject = [(DnType::OrganizationName, "Acme"), (DnType::CommonName, name)];
        der(&certificate(&subject, &[]))
    };
    let till = show("till");
    for _ in 0..3 {
        let acme = ask(&provider, std::slice::from_ref(&till));
        assert_eq!(acme, Ok(("CN=till,O=Acme".into(), Some("acme".into()))));
        let other = ask(&provider, &[show("desk")]);
        assert_eq!(other, Ok(("CN=desk,O=Acme".into(), None)));
    }
    provider.consumers.declare(Declared::default());
    assert_eq!(ask(&provider, &[till]), Ok(("CN=till,O=Acme".into(), None)));
}

#[tokio::test]
async fn a_certificate_that_has_expired_lets_nobody_in() {
    let provider = provider(Raw::default()).await;
    let mut params = certificate(&[(DnType::CommonName, "x")], &[]);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    assert_eq!(ask(&provider, &[der(&params)]), Err("refused"));
}

#[tokio::test]
async fn a_spiffe_id_is_the_only_uri() {
    let raw = Raw { by: RawBy::Spiffe, ..Raw::default() };
    let all = provider(raw.clone()).await;
    let raw = Raw { trust_domains: vec!["example.org".into()], ..raw };
    let trusted = provider(raw).await;
    let show = |provider: &Provider, uris: &[&str]| ask(provider, &[der(&certificate(&[], uris))]);
    let till = "spiffe://example.org/till";
    for provider in [&all, &trusted] {
        assert_eq!(show(provider, &[till]), Ok((till.into(), Some("acme".into()))));
        assert_eq!(show(provider, &[]), Err("foreign"));
        assert_eq!(show(provider, &["https://example.org/till"]), Err("foreign"));
        for uris in [
            &[till, "spiffe://example.org/admin"][..],
            &["https://example.org", till],
            &["spiffe://example.org/till/../admin"],
            &["spiffe://EXAMPLE.org/till"],
            &["spiffe://example.org/"],
            &["spiffe://example.org/till?x"],
            &["spiffe://user@example.org/till"],
            &["spiffe://example.org:1/till"],
            &["spiffe://example.org/%74ill"],
            &["spiffe:///till"],
        ] {
            assert_eq!(show(provider, uris), Err("refused"), "{uris:?}");
        }
    }
    let elsewhere = "spiffe://example.com/till";
    assert_eq!(show(&all, &[elsewhere]), Ok((elsewhere.into(), None)));
    assert_eq!(show(&trusted, &[elsewhere]), Err("refused"));
    let mut authority = certificate(&[], &[till]);
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(ask(&all, &[der(&authority)]), Err("refused"));
    // The subject says nothing here, whatever it is.
    let subject = certificate(&[(DnType::CommonName, till)], &[]);
    assert_eq!(ask(&all, &[der(&subject)]), Err("foreign"));
    let mut unreadable = certificate(&[], &[]);
    let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 5, 1]);
    unreadable.custom_extensions.push(names);
    assert_eq!(ask(&all, &[der(&unreadable)]), Err("refused"));
}

#[test]
fn names_have_one_form() {
    for (written, one) in [
        ("CN=till,O=Acme", "CN=till,O=Acme"),
        ("cn = till , O = Acme", "CN=till,O=Acme"),
        ("2.5.4.3=till", "CN=till"),
        ("1.2.3.4=x", "1.2.3.4=x"),
        ("O=Acme\\, Inc.", "O=Acme\\, Inc."),
        ("O=Acme\\2C Inc.", "O=Acme\\, Inc."),
        ("CN=\\C3\\A9", "CN=é"),
        ("CN=b+OU=a", "CN=b+OU=a"),
        ("OU=a+CN=b", "CN=b+OU=a"),
        ("CN=", "CN="),
        ("CN=a\\ ", "CN=a\\ "),
        ("spiffe://example.org/till", "spiffe://example.org/till"),
        ("spiffe://example.org", "spiffe://example.org"),
    ] {
        assert_eq!(name(written).as_deref(), Ok(one), "{written}");
    }
    for wrong in ["", "till", "X=1", "CN=a,", "CN=\\", "CN=\\C3", "spiffe://", "1..2=x", "=x"] {
        assert!(name(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    /// Whatever a certificate says, its name is read back as it was, and no two are alike.
    #[test]
    fn names_are_read_back(values in prop::collection::vec(".{0,12}", 1..4)) {
        let parts: Vec<_> = values.iter().map(|value| vec![("CN".to_owned(), value.clone())]).collect();
        let written = super::name::write(parts.iter().map(Vec::as_slice));
        prop_assert_eq!(super::name::parse(&written), Some(parts));
        prop_assert_eq!(name(&written), Ok(written));
    }
}
