//! Signed requests: the vectors of RFC 9421, and attacks.
