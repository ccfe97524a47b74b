//! The description of a version: an OpenAPI document or a `.proto` file, kept as the text that was
//! given. What is read from it, and compiled of it, is made once and shared by all that hold it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use crate::openapi::{self, Document, Validator};
use crate::proto;

/// What kind of description it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// OpenAPI 3.0 or 3.1.
    OpenApi,
    /// Protocol Buffers.
    Proto,
}

impl Kind {
    /// Its word in files and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OpenApi => "openapi",
            Self::Proto => "proto",
        }
    }
}

/// A description. Clones are the same; two of the same kind and text are equal.
#[derive(Clone)]
pub struct Contract(Arc<Inner>);

struct Inner {
    kind: Kind,
    digest: Digest,
    text: Box<str>,
    read: OnceLock<Result<Read, Unreadable>>,
    validator: OnceLock<Result<Arc<Validator>, Mistake>>,
}

/// The SHA-256 of a description's text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// What a description says.
#[derive(Debug)]
pub enum Read {
    /// An OpenAPI document.
    OpenApi(Arc<Document>),
    /// A `.proto` file.
    Proto(proto::File),
}

/// Why a description cannot be read: all mistakes that were found, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
pub struct Unreadable(Vec<Mistake>);

/// A mistake in a description, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// A JSON pointer; empty for the whole document, and in a `.proto` file.
    pub pointer: String,
    /// The line and column, counted from 1, if they are known.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl Contract {
    /// A description of this text.
    #[must_use]
    pub fn new(kind: Kind, text: &str) -> Self {
        let digest = Digest::of(text);
        let (read, validator) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { kind, digest, text: text.into(), read, validator }))
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its text, as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The digest of its text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// What it says. Takes its time when asked first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> Result<&Read, &Unreadable> {
        let read = || match self.0.kind {
            Kind::OpenApi => Ok(Read::OpenApi(Arc::new(openapi::read(&self.0.text)?))),
            Kind::Proto => Ok(Read::Proto(proto::read(&self.0.text)?)),
        };
        self.0.read.get_or_init(read).as_ref()
    }

    /// The OpenAPI document, if it is one that can be read.
    #[must_use]
    pub fn openapi(&self) -> Option<&Arc<Document>> {
        match self.read() {
            Ok(Read::OpenApi(document)) => Some(document),
            _ => None,
        }
    }

    /// What compares requests with it. Takes its time when asked first.
    ///
    /// # Errors
    /// When a schema of it cannot be compiled, and when it is no OpenAPI document.
    pub fn validator(&self) -> Result<&Arc<Validator>, &Mistake> {
        let compile = || match self.openapi() {
            Some(document) => Validator::compile(document).map(Arc::new),
            None => Err(Mistake::at("", "it is no OpenAPI document that can be read")),
        };
        self.0.validator.get_or_init(compile).as_ref()
    }

    /// What compares requests with it, if that was compiled before: for those who may not wait.
    #[must_use]
    pub fn compiled(&self) -> Option<&Arc<Validator>> {
        self.0.validator.get()?.as_ref().ok()
    }
}

impl PartialEq for Contract {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.digest() == other.digest()
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().word(), self.digest())
    }
}

impl Digest {
    /// The digest of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Unreadable {
    /// Something that has mistakes; `None` without any.
    #[must_use]
    pub fn of(mistakes: Vec<Mistake>) -> Option<Self> {
        if mistakes.is_empty() { None } else { Some(Self(mistakes)) }
    }

    /// The mistakes, at least one.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }

    fn told(&self) -> String {
        let told: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        told.join("; ")
    }
}

impl From<Mistake> for Unreadable {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl Mistake {
    /// A mistake of which the line is not known yet.
    #[must_use]
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), place: None, message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}
