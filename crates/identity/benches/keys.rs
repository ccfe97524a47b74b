//! What an API key, a client certificate and a signature cost a call, among 100,000 consumers:
//! nanoseconds on one thread and on two that share everything; and how long a change of one consumer
//! takes until calls see it.
//!
//! `cargo bench -p posthouse-identity --bench keys`
#![expect(clippy::print_stdout, reason = "the report is the point of a benchmark")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_identity::consumers::{
    Actor, Consumers, Declared, Limits, Raw, RawConsumer, RawKey, Spec,
};
use posthouse_identity::{Config, Credentials, Fields, Handle, Identities, Outcome};
use serde_json::json;

/// Consumers, each with a key and a name in certificates.
const CONSUMERS: u32 = 100_000;

/// Calls that are measured together.
const ROUNDS: u32 = 200_000;

/// Changes that are measured together.
const CHANGES: u32 = 200;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tasks = Tasks::new();
    let begun = Instant::now();
    let declared = declared();
    println!("{CONSUMERS} consumers checked      {:>8.0} ms", millis(begun));
    let begun = Instant::now();
    let start = Consumers::start(declared, None, Limits::default(), &tasks);
    let consumers = runtime.block_on(start).expect("a start");
    println!("shown to calls              {:>8.0} ms", millis(begun));
    let handle = runtime.block_on(async { handle(&consumers, &tasks) });
    for (what, provider, call) in [
        ("key found", "keys", Call::key(secret(77_777).as_bytes())),
        ("key unknown", "keys", Call::key(b"phk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("certificate", "mtls", Call::certificate()),
    ] {
        let once = measure(&handle, provider, &call);
        let both = std::thread::scope(|scope| {
            let threads = [(), ()].map(|()| scope.spawn(|| measure(&handle, provider, &call)));
            threads.map(|thread| thread.join().expect("a thread")).into_iter().sum::<f64>() / 2.0
        });
        println!("{what:<27} {once:>8.0} ns, by two threads at once {both:>8.0} ns");
    }
    let begun = Instant::now();
    runtime.block_on(async {
        for number in 0..CHANGES {
            let name = format!("new-{number}");
            let root = Actor::new("root");
            consumers.create(root, &name, Spec::default()).await.expect("a consumer");
        }
    });
    println!("a change                    {:>8.1} µs", millis(begun) * 1000.0 / f64::from(CHANGES));
}

fn secret(number: u32) -> String {
    format!("phk_{number:043}")
}

fn declared() -> Declared {
    let consumer = |number: u32| {
        let key = RawKey { secret: Some(secret(number)), ..RawKey::default() };
        let certificates = vec![format!("CN=client {number},O=Acme")];
        let plan = Some("gold".to_owned());
        RawConsumer { plan, keys: vec![key], certificates, ..RawConsumer::default() }
    };
    let raw: Raw = (0..CONSUMERS).map(|number| (format!("c{number}"), consumer(number))).collect();
    Declared::check(&raw, &Path::root(), &mut Report::new()).expect("no mistakes")
}

fn handle(consumers: &Consumers, tasks: &Tasks) -> Handle {
    let raw = json!({"providers": {"keys": {"api_key": {}}, "mtls": {"certificate": {}}}});
    let raw = serde_json::from_value(raw).expect("a section");
    let config = Config::check(&raw, &Path::root(), &mut Report::new()).expect("no mistakes");
    Identities::start(&config, consumers, tasks).expect("a start").handle().clone()
}

/// A call with a dozen fields, as browsers send them.
struct Call {
    fields: Vec<(&'static str, Vec<u8>)>,
    chain: Vec<Box<[u8]>>,
}

impl Fields for Call {
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s [u8], &'s [u8])) {
        self.fields.iter().for_each(|(name, value)| see(name.as_bytes(), value));
    }
}

impl Call {
    fn key(secret: &[u8]) -> Self {
        let usual = ["accept", "accept-encoding", "accept-language", "cookie", "user-agent"];
        let mut fields: Vec<_> = usual.map(|name| (name, b"something".to_vec())).into();
        fields.push(("x-api-key", secret.to_vec()));
        Self { fields, chain: Vec::new() }
    }

    fn certificate() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme");
        params.distinguished_name.push(rcgen::DnType::CommonName, "client 77777");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { fields: Vec::new(), chain: vec![certificate.der().to_vec().into()] }
    }
}

/// Nanoseconds for one call.
fn measure(handle: &Handle, provider: &str, call: &Call) -> f64 {
    let providers = [provider.into()];
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let asked = Credentials {
            method: &Method::GET,
            scheme: "https",
            authority: b"shop.example",
            path_and_query: b"/api/users",
            fields: call,
            client: SocketAddr::from(([127, 0, 0, 1], 1)),
            chain: &call.chain,
            now: Timestamp::now(),
        };
        let outcome = handle.identify(black_box(&asked), black_box(&providers));
        assert!(!matches!(black_box(outcome), Outcome::Nobody));
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
