//! Every input that fuzzing of AMQP began with or found, again.

use std::path::Path;

use super::amqp_bytes::holds;

#[test]
fn the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/amqp");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let input = std::fs::read(&path).expect("an input");
        for end in 0..=input.len() {
            holds(&input[..end]);
        }
        count += 1;
    }
    assert!(count > 5, "the corpus is elsewhere: {count}");
}
