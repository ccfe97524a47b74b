//! What a token costs a call: nanoseconds to find one that was verified, on one thread and on two
//! that share it, and to verify one from the ground.
//!
//! `cargo bench -p posthouse-identity --bench tokens`
#![expect(clippy::print_stdout, reason = "the report is the point of a benchmark")]

#[path = "../tests/it/signer.rs"]
mod signer;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_identity::consumers::{Consumers, Declared, Limits};
use posthouse_identity::{Config, Credentials, Handle, Identities, Outcome};
use serde_json::json;
use signer::Signer;

const ISSUER: &str = "https://idp.example";

/// Calls that are measured together.
const ROUNDS: u32 = 200_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::TempDir::new().expect("a folder");
    for algorithm in ["ES256", "RS256", "EdDSA", "HS256"] {
        let signer = match algorithm {
            "HS256" => Signer::with_secret(algorithm, "k", &[7; 32]),
            _ => Signer::new(algorithm, "k"),
        };
        let file = folder.path().join(algorithm);
        std::fs::write(&file, json!({"keys": [signer.jwk()]}).to_string()).expect("a file");
        let jwt = json!({"issuer": ISSUER, "audience": ["shop"], "keys": file, "algorithms": [algorithm]});
        let mut forgetful = jwt.clone();
        forgetful["cache"] = "0B".into();
        let settings = json!({"providers": {"kept": {"jwt": jwt}, "anew": {"jwt": forgetful}}});
        let handle = runtime.block_on(start(&settings));
        let expires = Timestamp::now().as_millis() / 1000 + 3600;
        let claims = json!({"iss": ISSUER, "aud": "shop", "sub": "alice", "exp": expires, "scope": "users.read users.write"});
        let shown = format!("Bearer {}", signer.token(&claims));
        println!("{algorithm}, {} bytes", shown.len());
        let once = measure(&handle, &shown, "anew", ROUNDS / 200);
        println!("  verified from the ground     {once:>8.0} ns");
        println!(
            "  found                        {:>8.0} ns",
            measure(&handle, &shown, "kept", ROUNDS)
        );
        let both = std::thread::scope(|scope| {
            let threads =
                [(), ()].map(|()| scope.spawn(|| measure(&handle, &shown, "kept", ROUNDS)));
            threads.map(|thread| thread.join().expect("a thread")).into_iter().sum::<f64>() / 2.0
        });
        println!("  found by two threads at once {both:>8.0} ns");
    }
}

async fn start(settings: &serde_json::Value) -> Handle {
    let tasks = Tasks::new();
    let mut report = Report::new();
    let raw = serde_json::from_value(settings.clone()).expect("settings");
    let config = Config::check(&raw, &Path::root(), &mut report).expect("sound settings");
    let none = serde_json::from_value(json!({})).expect("no consumers");
    let declared = Declared::check(&none, &Path::root(), &mut report).expect("sound consumers");
    let consumers = Consumers::start(declared, None, Limits::default(), &tasks);
    let consumers = consumers.await.expect("consumers");
    Identities::start(&config, &consumers, &tasks).expect("it starts").handle().clone()
}

/// Nanoseconds for each of `rounds` calls, whose time is looked at as the gateway does: at each.
fn measure(handle: &Handle, shown: &str, provider: &str, rounds: u32) -> f64 {
    let providers = [Arc::from(provider)];
    let fields = vec![("host", "shop.example"), ("accept", "*/*"), ("authorization", shown)];
    let began = Instant::now();
    for _ in 0..rounds {
        let asked = Credentials {
            method: &Method::GET,
            scheme: "https",
            authority: b"shop.example",
            path_and_query: b"/users",
            fields: &fields,
            client: ([127, 0, 0, 1], 1).into(),
            chain: &[],
            now: Timestamp::now(),
        };
        let outcome = handle.identify(black_box(&asked), &providers);
        assert!(matches!(black_box(outcome), Outcome::Known(_)));
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
}
