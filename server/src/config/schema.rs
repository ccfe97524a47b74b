//! The JSON Schema of the file, made from the raw types: printed for editors, and the rule by which
//! [`super::structure`] finds what is written wrongly.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::raw::Raw;

/// Sections that later versions serve, so that a file which names one gets a clear answer.
pub(super) const LATER: [&str; 4] = ["events", "sagas", "console", "telemetry"];

/// The schema (JSON Schema 2020-12).
pub(crate) fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Raw>();
    let mut schema = schema.to_value();
    if let Some(root) = schema.as_object_mut() {
        // A reader that flattens cannot refuse unknown keys by itself.
        root.remove("unevaluatedProperties");
        root.insert("additionalProperties".into(), json!(false));
    }
    in_one_line(&mut schema);
    schema
}

/// Doc comments are wrapped for the source; descriptions are not.
fn in_one_line(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(text) if key == "description" => {
                        let paragraphs = text.split("\n\n");
                        let words = |text: &str| text.split('\n').collect::<Vec<_>>().join(" ");
                        *text = paragraphs.map(words).collect::<Vec<_>>().join("\n\n");
                    }
                    other => in_one_line(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(in_one_line),
        _ => {}
    }
}
