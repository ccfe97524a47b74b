//! What must hold for any bytes that come as a token. The fuzz target and the replay of its corpus
//! call [`holds`].

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_identity::consumers::{Consumers, Declared, Limits};
use posthouse_identity::{Config, Credentials, Handle, Identities, Identity, Outcome};
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "a secret of more than thirty-two bytes";

/// When all of this happens, in seconds since 1970.
const NOW: u64 = 1_800_000_000;

/// Whatever comes is answered without a panic, and nobody is known by what is not signed. Bytes with
/// a line feed are a header and claims, which are signed here: then somebody may be known, but only by
/// claims that a usual reader reads in the same way, and that hold.
pub fn holds(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
        assert!(ask(bytes).is_none(), "nobody signed this");
        return;
    };
    let (header, claims) = (&bytes[..at], &bytes[at + 1..]);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let Some(identity) = ask(format!("{signed}.{signature}").as_bytes()) else { return };
    let header: Value = serde_json::from_slice(header).expect("a header that others read");
    let claims: Value = serde_json::from_slice(claims).expect("claims that others read");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none());
    assert_eq!(claims["iss"], "idp");
    let meant = |name: &Value| name == "shop";
    let audience = &claims["aud"];
    assert!(meant(audience) || audience.as_array().is_some_and(|names| names.iter().any(meant)));
    let until = claims["exp"].as_f64().expect("a date");
    assert!(until + 30.0 > f64::from(u32::try_from(NOW).expect("it fits")));
    assert_eq!(claims["sub"], *identity.subject);
    assert_eq!(Value::Object(identity.claims.clone()), claims);
}

fn ask(token: &[u8]) -> Option<Arc<Identity>> {
    let (handle, runtime) = identities();
    let shown = [b"Bearer ", token].concat();
    let fields = vec![("authorization", shown)];
    let asked = Credentials {
        method: &Method::GET,
        scheme: "https",
        authority: b"shop.example",
        path_and_query: b"/",
        fields: &fields,
        client: ([127, 0, 0, 1], 1).into(),
        chain: &[],
        now: Timestamp::from_millis(NOW * 1000),
    };
    let mut outcome = handle.identify(&asked, &[Arc::from("p")]);
    loop {
        outcome = match outcome {
            Outcome::Known(identity) => return Some(identity),
            Outcome::Later(later) => runtime.block_on(later),
            Outcome::Nobody | Outcome::Refused(_) | Outcome::WithBody(_) => return None,
        };
    }
}

/// One identity for all inputs, without a memory, and the runtime that it lives on.
fn identities() -> &'static (Handle, tokio::runtime::Runtime) {
    static IDENTITIES: OnceLock<(Handle, tokio::runtime::Runtime)> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let jwt = json!({"issuer": "idp", "audience": ["shop"], "secret": SECRET, "cache": "0B"});
        let raw = serde_json::from_value(json!({"providers": {"p": {"jwt": jwt}}}));
        let mut report = Report::new();
        let raw = raw.expect("settings");
        let config = Config::check(&raw, &Path::root(), &mut report).expect("sound settings");
        let none = serde_json::from_value(json!({})).expect("no consumers");
        let declared = Declared::check(&none, &Path::root(), &mut report).expect("none");
        let tasks = Tasks::new();
        let handle = runtime.block_on(async {
            let consumers = Consumers::start(declared, None, Limits::default(), &tasks);
            let consumers = consumers.await.expect("consumers");
            Identities::start(&config, &consumers, &tasks).expect("it starts").handle().clone()
        });
        (handle, runtime)
    })
}
