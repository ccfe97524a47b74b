//! What the fuzz target was seeded with and found, replayed; and bytes at random.

use std::path::Path;

use proptest::prelude::{any, prop, proptest};

use crate::token_bytes::holds;

#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/token");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        holds(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
        count += 1;
    }
    assert!(count > 5, "only {count} inputs");
}

const GOOD: &str = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}\n{\"iss\":\"idp\",\"aud\":[\"shop\"],\
                    \"sub\":\"alice\",\"exp\":1800000300,\"nbf\":1799999000,\"scope\":\"a b\"}";

proptest! {
    #[test]
    fn any_bytes_are_answered_soundly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        holds(&bytes);
    }

    #[test]
    fn a_good_token_with_some_bytes_changed_is_read_as_others_read_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        doubled in any::<prop::sample::Index>(),
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        holds(&bytes);
        holds(&bytes[..cut.index(bytes.len())]);
        let at = doubled.index(bytes.len());
        let more = [&bytes[..at], &bytes[at / 2..]].concat();
        holds(&more);
    }
}
