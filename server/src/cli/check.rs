//! `posthouse check`: every mistake of a configuration file.

use std::io;

use anyhow::Context as _;
use posthouse_base::config::Severity;
use serde::Serialize;

use super::{Check, Failure, Output, print, wants_colours};
use crate::config::{Checked, Findings, Source};

/// What a program is told.
#[derive(Serialize)]
struct Answer<'a> {
    /// Whether it can be run.
    ok: bool,
    #[serde(flatten)]
    findings: &'a Findings,
}

pub(crate) fn run(options: &Check) -> Result<(), Failure> {
    let source = Source::File(options.file.clone());
    let Checked { findings, .. } = read(&source)?;
    let refused = findings.has_errors();
    match options.output {
        Output::Text => print(&findings.to_text(wants_colours(&io::stdout())))?,
        Output::Json => {
            let answer = Answer { ok: !refused, findings: &findings };
            let text = serde_json::to_string_pretty(&answer).context("findings as JSON")?;
            print(&(text + "\n"))?;
        }
    }
    if refused {
        return Err(Failure::setup(anyhow::anyhow!(summary(&findings))));
    }
    if options.output == Output::Text {
        print(&format!("{}\n", summary(&findings)))?;
    }
    Ok(())
}

/// Reads and checks a configuration.
pub(super) fn read(source: &Source) -> Result<Checked, Failure> {
    let text = source.text().with_context(|| format!("{} cannot be read", source.name()));
    Ok(source.check(&text.map_err(Failure::setup)?))
}

/// How many findings there are, in a sentence.
pub(super) fn summary(findings: &Findings) -> String {
    let file = &findings.file;
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let (errors, warnings) = (findings.count(Severity::Error), findings.count(Severity::Warning));
    match (errors, warnings) {
        (0, 0) => format!("{file} is fine"),
        (0, _) => format!("{file} can be run; {}", counted(warnings, "warning")),
        (_, 0) => format!("{file} has {}", counted(errors, "error")),
        _ => {
            format!("{file} has {} and {}", counted(errors, "error"), counted(warnings, "warning"))
        }
    }
}
