//! The admin token: kept as a digest only, so that no log or dump shows it, and compared as such,
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
}
