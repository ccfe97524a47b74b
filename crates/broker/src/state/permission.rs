//! What a user may do in a virtual host: names by regular expressions.

use regex::Regex;

use super::command::Permissions;
use super::refusal::{Code, Refusal};

/// Permissions that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) configure: Names,
    pub(crate) write: Names,
    pub(crate) read: Names,
}

/// Names.
#[derive(Clone, Debug, Default)]
pub(crate) enum Names {
    #[default]
    None,
    All,
    Like(Regex),
}

impl Allowed {
    /// Everything.
    pub(crate) fn all() -> Self {
        Self { configure: Names::All, write: Names::All, read: Names::All }
    }

    pub(crate) fn read(permissions: &Permissions) -> Result<Self, Refusal> {
        Ok(Self {
            configure: Names::read(&permissions.configure)?,
            write: Names::read(&permissions.write)?,
            read: Names::read(&permissions.read)?,
        })
    }
}

impl Names {
    fn read(pattern: &str) -> Result<Self, Refusal> {
        match pattern {
            "" | "^$" => Ok(Self::None),
            ".*" | "^.*$" | "^.*" | ".*$" => Ok(Self::All),
            pattern => match Regex::new(pattern) {
                Ok(pattern) => Ok(Self::Like(pattern)),
                Err(error) => {
                    let detail = format!("'{pattern}' is not a regular expression: {error}");
                    Err(Refusal::new(Code::SyntaxError, detail))
                }
            },
        }
    }

    /// Whether a name is among them. The default exchange is `amq.default`.
    pub(crate) fn contain(&self, name: &str) -> bool {
        let name = if name.is_empty() { "amq.default" } else { name };
        match self {
            Self::None => false,
            Self::All => true,
            Self::Like(pattern) => pattern.is_match(name),
        }
    }
}
