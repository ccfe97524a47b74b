//! Findings with their place in the file, and how they are shown to people and to programs.

use std::fmt::{self, Write as _};

use posthouse_base::config::{Finding, Severity};
use serde::Serialize;

use super::node::{Node, Position};

/// Everything found about one file.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// The file as its user calls it.
    pub(crate) file: String,
    /// By place in the file.
    pub(crate) findings: Vec<Located>,
}

/// A finding and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Located {
    pub(crate) severity: Severity,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
    /// Empty for the file as a whole.
    pub(crate) path: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Findings {
    pub(crate) fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), findings: Vec::new() }
    }

    /// Notes a mistake at a place.
    pub(crate) fn error(
        &mut self,
        at: Position,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Located {
        self.findings.push(Located {
            severity: Severity::Error,
            line: at.line,
            column: at.column,
            path: path.into(),
            message: message.into(),
            help: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// Takes over a pillar's finding, whose path is counted in `tree`.
    pub(crate) fn adopt(&mut self, finding: &Finding, tree: &Node) {
        let (at, path) = tree.locate(finding.path.as_str());
        self.findings.push(Located {
            severity: finding.severity,
            line: at.line,
            column: at.column,
            path,
            message: finding.message.clone(),
            help: finding.help.clone(),
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Sorts by place, so that a reader goes through the file once.
    pub(crate) fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (a.line, a.column, &a.path, &a.message).cmp(&(b.line, b.column, &b.path, &b.message))
        });
        self.findings.dedup();
    }

    /// For people; `colours` for terminals.
    pub(crate) fn to_text(&self, colours: bool) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let (name, colour) = match finding.severity {
                Severity::Error => ("error", anstyle::AnsiColor::Red),
                Severity::Warning => ("warning", anstyle::AnsiColor::Yellow),
            };
            let style = if colours { colour.on_default().bold() } else { anstyle::Style::new() };
            let Located { line, column, path, message, help, .. } = finding;
            let colon = if path.is_empty() { "" } else { ": " };
            let file = &self.file;
            // Writing to a String cannot fail.
            let _infallible = writeln!(
                out,
                "{file}:{line}:{column}: {style}{name}{style:#}: {path}{colon}{message}"
            );
            for help in help.iter().flat_map(|help| help.lines()) {
                let _infallible = writeln!(out, "    help: {help}");
            }
        }
        out
    }
}

/// For logs: without help, on one line each.
impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, path, message, .. } = self;
        let colon = if path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {path}{colon}{message}")
    }
}
