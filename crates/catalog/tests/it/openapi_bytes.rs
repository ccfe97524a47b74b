//! What must hold for any bytes that are given as an OpenAPI document. The fuzz target and the replay
//! of its corpus call [`holds`].

use http::Method;
use posthouse_catalog::contract::{Contract, Kind, Read};
use posthouse_catalog::openapi::{Call, diff};

/// Reads it, compiles it, compares it with itself and a few requests with it: nothing panics or hangs,
/// and what is wrong is told.
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let contract = Contract::new(Kind::OpenApi, text);
    let document = match contract.read() {
        Ok(Read::OpenApi(document)) => document,
        Ok(Read::Proto(_)) => unreachable!("it was given as a document"),
        Err(unreadable) => {
            assert!(!unreadable.mistakes().is_empty(), "nothing is told");
            assert!(unreadable.mistakes().iter().all(|mistake| !mistake.message.is_empty()));
            return;
        }
    };
    assert!(diff::diff(document, document).is_empty(), "it differs from itself");
    for operation in &document.operations {
        assert!(operation.path.starts_with('/'), "{}", operation.path);
    }
    let Ok(validator) = contract.validator() else { return };
    let headers = |name: &str, found: &mut dyn FnMut(&[u8])| match name {
        "content-type" => found(b"application/json"),
        _ => found(b"a,1;b=2"),
    };
    for operation in document.operations.iter().take(20) {
        let path = operation.path.replace(['{', '}'], "1");
        for target in [path.clone(), format!("{path}?a=1&b[c]=2&d=%ff,1")] {
            let call = Call::new(&operation.method, target.as_bytes(), &headers);
            let _whatever = validator.wants_body("", &call);
            for body in ["", "{}", "[1, {\"a\": {\"a\": {\"a\": null}}}]", "\u{0}"] {
                if let Err(violation) = validator.check("", &call, Some(body.as_bytes())) {
                    assert!(violation.pointer.starts_with('/'), "{violation:?}");
                }
            }
        }
    }
    let other = Call::new(&Method::GET, b"/not/there", &headers);
    let _whatever = validator.check("", &other, None);
}
