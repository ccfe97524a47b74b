//! An admin token: kept as a digest only, so that no log or dump shows it, and compared as such,
//! so that the time it takes says nothing about how much of a guess was right.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A token's digest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// A token of which only the SHA-256 digest is known, in hexadecimal digits.
    pub(crate) fn of_digest(hex: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let digits = hex.as_bytes();
        if digits.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)?;
        }
        Some(Self(digest))
    }

    /// Whether `guess` is the token. All bytes of both digests are looked at.
    pub(crate) fn is(&self, guess: &str) -> bool {
        let guess = Self::new(guess);
        let pairs = self.0.iter().zip(guess.0);
        pairs.fold(0, |differing, (ours, theirs)| differing | (ours ^ theirs)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_passes_and_it_is_not_shown() {
        let token = Token::new("correct horse battery");
        assert!(token.is("correct horse battery"));
        assert!(!token.is("correct horse batter") && !token.is(""));
        assert!(!format!("{token:?}").contains("horse"));
    }

    #[test]
    fn a_digest_stands_for_its_token() {
        // `printf %s abc | sha256sum`, FIPS 180-2 appendix B.1.
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Token::of_digest(hex).expect("a digest").is("abc"));
        assert!(Token::of_digest(&hex.to_uppercase()).expect("a digest").is("abc"));
        for wrong in ["", &hex[1..], &hex.replacen("ba", "+a", 1), &hex.replacen("ba", "xy", 1)] {
            assert!(Token::of_digest(wrong).is_none(), "{wrong}");
        }
    }
}
