//! Identity as the house uses it: configured, asked about calls, and lied to.

mod external;
mod introspection;
mod issuer;
mod keys_of_issuers;
mod mint;
mod signer;
mod tokens;
mod world;
