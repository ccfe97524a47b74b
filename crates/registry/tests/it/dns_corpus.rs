//! What the fuzz target found and was seeded with, replayed; and bytes at random.

use std::path::Path;

use proptest::prelude::{any, prop, proptest};

use crate::dns_bytes::holds;

#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/dns_query");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        holds(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
        count += 1;
    }
    assert!(count > 5, "only {count} inputs");
}

/// A query for a name of ours, of any type, as bytes.
fn query(labels: &[&str], kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_answered_soundly(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        holds(&bytes);
    }

    #[test]
    fn a_query_with_some_bytes_changed_is_answered_soundly(
        kind in 0_u16..300,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = query(&["v1", "web", "service", "consul"], kind);
        bytes.extend(more);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        holds(&bytes);
    }
}
