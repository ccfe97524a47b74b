//! What the fuzz targets found and were seeded with, replayed.

use std::fs;
use std::path::Path;

use crate::{invariants, oracle};

/// Runs `check` on every input of a target's corpus; there must be some.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is part of the repository") {
        let input = fs::read(entry.expect("a file").path()).expect("a readable file");
        check(&input);
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn request_head() {
    replay("request_head", invariants::request);
}

#[test]
fn response_head() {
    replay("response_head", invariants::response);
}

#[test]
fn chunked_body() {
    replay("chunked_body", invariants::chunked);
}

#[test]
fn request_as_hyper() {
    replay("request_as_hyper", oracle::request_as_hyper);
}
