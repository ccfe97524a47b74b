//! What the fuzz target was seeded with and found, replayed; and documents with bytes changed at
//! random.

use std::path::Path;

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use crate::openapi_bytes::holds;

const SHOP: &str = include_str!("../../src/openapi/tests/shop.yaml");

#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/openapi");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        holds(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
        count += 1;
    }
    assert!(count > 5, "only {count} inputs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_soundly(text in "[ -~\n]{0,300}") {
        holds(text.as_bytes());
    }

    #[test]
    fn a_document_with_some_bytes_changed_is_read_soundly(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b" \n:{}[]'#$-a1/*&".to_vec())), 1..8),
    ) {
        let mut bytes = SHOP.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        holds(&bytes);
    }

    #[test]
    fn a_document_with_lines_moved_is_read_soundly(
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let mut lines: Vec<&str> = SHOP.lines().collect();
        for (from, to) in moves {
            let line = lines.remove(from.index(lines.len()));
            lines.insert(to.index(lines.len() + 1), line);
        }
        holds(lines.join("\n").as_bytes());
    }
}
