//! Values as YAML that people like to read: blocks, texts of several lines as they are. The reader of
//! the configuration file reads the same values from it again, but for `${`, which it fills in.

use serde_json::Value;

/// Spaces by which what is inside is indented.
const STEP: usize = 2;

/// A value as a document.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => write(&mut out, value, 0),
        scalar => {
            out += &one_line(scalar);
            out.push('\n');
        }
    }
    out
}

/// Writes what has things inside, each on lines of its own.
fn write(out: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                *out += &format!("{pad}{}:", quoted(key));
                inside(out, value, indent + STEP);
            }
        }
        Value::Array(list) => {
            for value in list {
                let mut item = String::new();
                inside(&mut item, value, indent + STEP);
                // What is inside begins on the dash's own line.
                let item = item.strip_prefix('\n').map_or(&*item, |item| &item[indent + 1..]);
                *out += &format!("{pad}-{item}");
            }
        }
        _ => {}
    }
}

/// Writes what stands behind a key or a dash.
fn inside(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write(out, value, indent);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write(out, value, indent);
        }
        Value::String(text) if is_block(text) => block(out, text, indent),
        scalar => *out += &format!(" {}\n", one_line(scalar)),
    }
}

/// Writes a text of several lines as it is.
fn block(out: &mut String, text: &str, indent: usize) {
    let ends = match (text.ends_with('\n'), text.ends_with("\n\n")) {
        (_, true) => "+",
        (true, false) => "",
        (false, false) => "-",
    };
    *out += &format!(" |{ends}\n");
    for line in text.lines() {
        if !line.is_empty() {
            *out += &format!("{}{line}", " ".repeat(indent));
        }
        out.push('\n');
    }
}

/// Whether a text can stand as a block: its first line shows how far all are indented, and nothing in it
/// needs an escape.
fn is_block(text: &str) -> bool {
    let is_plain = |char: char| char == '\n' || is_shown(char);
    let mut lines = text.lines();
    lines.next().is_some_and(|first| first.starts_with(|char: char| !char.is_whitespace()))
        && lines.next().is_some()
        && text.chars().all(is_plain)
        && text.lines().all(|line| line.is_empty() || !line.trim().is_empty())
}

fn is_shown(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // What is left is written alike in both.
        other => other.to_string(),
    }
}

/// A text on one line: as it is where nothing else could be read from it, or quoted.
fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            char if is_shown(char) => quoted.push(char),
            char => quoted += &format!("\\U{:08x}", u32::from(char)),
        }
    }
    quoted.push('"');
    quoted
}

/// Plain enough for every reader of YAML, also of its older editions.
fn is_plain(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@ ".contains(&byte);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.bytes().all(inner)
        && !text.ends_with(' ')
        && !words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_written_as_people_would() {
        let value = json!({
            "apis": { "users": { "title": "Users: all", "versions": { "v1": {
                "state": "draft", "openapi": "openapi: 3.1.0\n\ninfo: {}\n", "strip": true,
                "limits": [{ "by": "consumer", "rate": "10/s" }, 7], "empty": [],
            } } } },
        });
        let written = "\
apis:
  users:
    title: \"Users: all\"
    versions:
      v1:
        state: draft
        openapi: |
          openapi: 3.1.0

          info: {}
        strip: true
        limits:
          - by: consumer
            rate: \"10/s\"
          - 7
        empty: []
";
        assert_eq!(text(&value), written);
    }

    /// What a reader of YAML might take for something else.
    const TEXTS: &[&str] = &[
        "",
        " ",
        "a",
        "a b",
        " a",
        "a ",
        "1",
        "-1",
        "0x1",
        "1e3",
        "true",
        "No",
        "null",
        "~",
        "- a",
        "a: b",
        "a #b",
        "#a",
        "{a}",
        "/users/{id}",
        "[a]",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a`",
        "'a'",
        "\"a\"",
        "a\\b",
        "${env:NONE}",
        "$${x}",
        "$5",
        "ü😀",
        "\u{0}\u{85}\u{2028}",
        "2026-10-01",
        "12:30:45",
        "a\n",
        "a\nb",
        "a\nb\n",
        "a\nb\n\n\n",
        "\na\nb",
        " a\nb",
        "a\n b\n",
        "a\n \nb",
        "a\r\nb",
        "a\tb",
        "\ta\nb",
        "a\n\tb\n",
        "a: |\n  b\n\n  c # d\n",
        "a\n${file:x}\n",
        "---\na: {b: /c/{d}}\n...\n",
        "a\n---\nb\n",
        "\n",
        "\n\n",
        "a \nb \n",
    ];

    #[test]
    fn what_is_written_is_read_again() {
        let mut all =
            json!({ "list": TEXTS[..], "n": [0, -7, 1.5, null, true], "e": {}, "l": [[], [[1]]] });
        for (index, text) in TEXTS.iter().enumerate() {
            all["texts"][format!("{index}")] = json!(text);
            if !text.contains("${") {
                all["keys"][*text] = json!(index);
            }
        }
        let written = text(&all).replace("${", "$${");
        let read = crate::config::read_part(&written, "written", Path::new("/nowhere"));
        let read = read.unwrap_or_else(|said| panic!("{}\n{written}", said.to_text(false)));
        for (index, text) in TEXTS.iter().enumerate() {
            assert_eq!(read["texts"][format!("{index}")], json!(text), "{written}");
        }
        assert_eq!(read, all, "{written}");
    }
}
