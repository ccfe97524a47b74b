//! Passwords as RabbitMQ's definitions have them: base64 of four bytes of salt and the SHA-256 of salt
//! and password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A hash that no password has, to be compared when nobody has the name.
pub(crate) const NOBODY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const SALT: usize = 4;

/// The hash of a password, with a salt of its own.
#[must_use]
pub fn hash(password: &[u8]) -> String {
    let random = Uuid::new_v4().into_bytes();
    let salt: [u8; SALT] = [random[0], random[1], random[2], random[3]];
    STANDARD.encode([&salt[..], &digest(&salt, password)].concat())
}

/// Whether it is the password of which this is the hash. Takes the same time whether it is or not.
pub(crate) fn is_right(hash: &str, password: &[u8]) -> bool {
    let stored = STANDARD.decode(hash).unwrap_or_default();
    let (salt, wanted) = stored.split_at_checked(SALT).unwrap_or((&[], &[]));
    let found = digest(salt, password);
    let difference = wanted.iter().zip(&found).fold(0, |all, (one, other)| all | (one ^ other));
    wanted.len() == found.len() && difference == 0
}

fn digest(salt: &[u8], password: &[u8]) -> Vec<u8> {
    Sha256::new_with_prefix(salt).chain_update(password).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recognised() {
        let one = hash(b"secret");
        assert!(is_right(&one, b"secret"));
        assert!(!is_right(&one, b"Secret"));
        assert_ne!(one, hash(b"secret"), "it has a salt");
        for wrong in ["", "x", "AAAA", NOBODY] {
            assert!(!is_right(wrong, b""), "{wrong}");
        }
        // As in RabbitMQ's documentation: salt 908DC60A, password test12.
        assert!(is_right("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", b"test12"));
    }
}
