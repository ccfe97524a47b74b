//! What is wrong with what a client sent, with what it was about: a channel or the connection is
//! closed for it, as the reply code says (§1.2 of the reference).

use std::fmt;

use crate::state::{Code, Refusal};

/// Why a channel or a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Under what name.
    pub code: Code,
    /// As the client is told: `NAME - what was wrong`.
    pub text: String,
    /// The class and method that were to blame; zeros when none was.
    pub method: (u16, u16),
}

impl Fault {
    /// A fault of no particular method.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::from(&Refusal::new(code, detail))
    }

    /// The same, of a method, unless it already is of one.
    #[must_use]
    pub fn of(mut self, method: (u16, u16)) -> Self {
        if self.method == (0, 0) {
            self.method = method;
        }
        self
    }
}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        Self { code: refusal.code, text: refusal.text(), method: refusal.method.numbers() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.number(), self.text)
    }
}
