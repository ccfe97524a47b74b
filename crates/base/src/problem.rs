//! Problem details (RFC 9457): the one shape of an error on the project's own HTTP interfaces.

use serde::{Deserialize, Serialize};

/// The media type of a problem (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for whom it concerns. `detail` is public: no secret and no internal address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI reference that names the kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short name of the kind, the same for every occurrence.
    pub title: String,
    /// The HTTP status code of the response that carries this.
    pub status: u16,
    /// What happened this time, and what mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The input field that is wrong, as a JSON pointer or parameter name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Problem {
    /// A problem of no special kind.
    #[must_use]
    pub fn new(status: u16, title: impl Into<String>) -> Self {
        Self { kind: "about:blank".into(), title: title.into(), status, detail: None, field: None }
    }

    /// Says what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names the input field that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The body to send under [`MEDIA_TYPE`].
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| String::from("{}"))
    }
}
