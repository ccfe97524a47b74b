//! Identity as the house uses it: configured, asked about calls, and lied to.

mod external;
mod introspection;
mod issuer;
mod keys_of_issuers;
mod mint;
mod signer;
#[expect(unreachable_pub, reason = "the fuzz target is another crate that includes this file")]
mod token_bytes;
mod token_corpus;
mod tokens;
mod world;
