//! What changes come to, or would come to, as it is told: by entry (`+` new, `~` different, `-` gone),
//! field by field; and how a change is asked for.

use clap::Args;
use serde_json::Value;

use super::address::Address;
use super::api::{cell, print_json};
use super::{Failure, Look, Output, print};

/// The longest value that is shown of a field.
const LONGEST: usize = 100;

/// How a change is asked for.
#[derive(Clone, Debug, Args)]
pub(super) struct How {
    /// Only tell what would change.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    #[command(flatten)]
    pub(super) look: Look,
}

impl How {
    /// Where it is asked for.
    pub(super) fn address(&self, path: impl Into<String>) -> Address {
        let address = Address::new(path).with_flag("dry_run", self.dry_run);
        address.with("note", self.note.as_deref())
    }
}

/// Shows what was answered to a change.
pub(super) fn tell(look: &Look, answer: &Value) -> Result<(), Failure> {
    match look.output {
        Output::Json => print_json(answer),
        Output::Text => print(&shown(answer)),
    }
}

fn shown(answer: &Value) -> String {
    let mut text = String::new();
    let changes: Vec<&Value> = answer["changes"].as_array().into_iter().flatten().collect();
    for change in &changes {
        let sign = match change["kind"].as_str() {
            Some("created") => '+',
            Some("removed") => '-',
            _ => '~',
        };
        text += &format!("{sign} {} {}\n", cell(&change["entry"]), cell(&change["kind"]));
        if sign == '~' {
            text += &differences(change, "    ");
        }
    }
    for entry in answer["declared"].as_array().into_iter().flatten() {
        let entry = cell(entry);
        text += &format!("= {entry} is declared in the configuration file, and stays so\n");
    }
    if changes.is_empty() {
        text += "nothing differs\n";
    } else if answer["dry_run"] == true {
        text += "nothing was changed: this was a dry run\n";
    }
    text
}

/// Fields and descriptions that differ, a line each.
pub(super) fn differences(change: &Value, indent: &str) -> String {
    let mut text = String::new();
    for field in change["fields"].as_array().into_iter().flatten() {
        let pointer = cell(&field["pointer"]);
        let (before, after) = (field.get("before").map(brief), field.get("after").map(brief));
        text += &match (before, after) {
            (Some(before), Some(after)) => format!("{indent}{pointer}: {before} -> {after}\n"),
            (None, Some(after)) => format!("{indent}{pointer}: {after} is new\n"),
            (Some(before), None) => format!("{indent}{pointer}: {before} is gone\n"),
            (None, None) => String::new(),
        };
    }
    for one in change["contract"].as_array().into_iter().flatten() {
        text += &format!("{indent}{}\n", of_contract(one));
    }
    text
}

/// A difference between two OpenAPI documents in a line.
pub(super) fn of_contract(one: &Value) -> String {
    let kind = if one["breaking"] == true { "breaking" } else { "compatible" };
    let rule = cell(&one["rule"]);
    let message = cell(&one["message"]);
    match one["operation"].as_str() {
        Some(operation) if !operation.is_empty() => {
            format!("{kind} [{rule}] {operation}: {message}")
        }
        _ => format!("{kind} [{rule}] {message}"),
    }
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_told_by_entry_and_field() {
        let answer = json!({
            "dry_run": true,
            "changes": [
                { "entry": "api users", "kind": "created", "fields": [{ "pointer": "", "after": {} }] },
                { "entry": "version users@v1", "kind": "changed",
                  "fields": [
                      { "pointer": "/state", "before": "draft", "after": "published" },
                      { "pointer": "/owner", "after": "ü".repeat(200) },
                      { "pointer": "/strip", "before": true },
                  ],
                  "contract": [{ "rule": "path-removed", "operation": "GET /a", "breaking": true,
                                 "message": "the path `/a` is gone" }] },
                { "entry": "plan gold", "kind": "removed", "fields": [{ "pointer": "" }] },
            ],
            "declared": ["consumer acme"],
        });
        let owner = "ü".repeat(99);
        let told = format!(
            "\
+ api users created
~ version users@v1 changed
    /state: \"draft\" -> \"published\"
    /owner: \"{owner}… is new
    /strip: true is gone
    breaking [path-removed] GET /a: the path `/a` is gone
- plan gold removed
= consumer acme is declared in the configuration file, and stays so
nothing was changed: this was a dry run
"
        );
        assert_eq!(shown(&answer), told);
        assert_eq!(shown(&json!({ "dry_run": true, "changes": [] })), "nothing differs\n");
    }
}
