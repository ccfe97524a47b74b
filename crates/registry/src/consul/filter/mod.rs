//! The `filter` of list requests: Consul's expression language, applied to the JSON form of each
//! element.
//!
//! Like the original, a selector that leads through a list holds when it holds for any element, a
//! key that a map does not have is unequal to everything, and a selector that no element could have
//! is refused. To know the latter, an expression is parsed against a *sample* element, in which an
//! empty object stands for a map with any keys.

mod parse;

use regex::Regex;
use serde_json::Value;

/// The longest expression that is read, in bytes.
pub(crate) const MAX_LENGTH: usize = 8192;

/// A checked expression.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Expr);

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub(crate) struct Mistake {
    /// Where, in characters from 1.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) problem: String,
}

#[derive(Clone, Debug)]
enum Expr {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Match(Vec<String>, Op),
}

#[derive(Clone, Debug)]
enum Op {
    Equal(String),
    NotEqual(String),
    Contains(String),
    NotContains(String),
    Empty,
    NotEmpty,
    Matches(Regex),
    NotMatches(Regex),
}

impl Filter {
    /// Reads an expression about elements that look like `sample`.
    pub(crate) fn parse(text: &str, sample: &Value) -> Result<Self, Mistake> {
        parse::parse(text, sample).map(Self)
    }

    /// Whether `element` is selected.
    pub(crate) fn selects(&self, element: &Value) -> bool {
        self.0.holds(element)
    }
}

impl Expr {
    fn holds(&self, element: &Value) -> bool {
        match self {
            Self::Or(left, right) => left.holds(element) || right.holds(element),
            Self::And(left, right) => left.holds(element) && right.holds(element),
            Self::Not(inner) => !inner.holds(element),
            Self::Match(path, op) => op.holds_at(element, path),
        }
    }
}

impl Op {
    fn holds_at(&self, value: &Value, path: &[String]) -> bool {
        match (value, path.split_first()) {
            (_, None) => self.holds(value),
            (Value::Array(elements), Some(_)) => {
                elements.iter().any(|element| self.holds_at(element, path))
            }
            (Value::Object(map), Some((key, rest))) => {
                map.get(key).map_or_else(|| self.holds_absent(), |value| self.holds_at(value, rest))
            }
            (_, Some(_)) => self.holds_absent(),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Equal(literal) => equals(value, literal),
            Self::NotEqual(literal) => !equals(value, literal),
            Self::Contains(literal) => contains(value, literal),
            Self::NotContains(literal) => !contains(value, literal),
            Self::Empty => is_empty(value),
            Self::NotEmpty => !is_empty(value),
            Self::Matches(regex) => value.as_str().is_some_and(|text| regex.is_match(text)),
            Self::NotMatches(regex) => !value.as_str().is_some_and(|text| regex.is_match(text)),
        }
    }

    const fn holds_absent(&self) -> bool {
        match self {
            Self::NotEqual(_) | Self::NotContains(_) | Self::Empty | Self::NotMatches(_) => true,
            Self::Equal(_) | Self::Contains(_) | Self::NotEmpty | Self::Matches(_) => false,
        }
    }
}

fn equals(value: &Value, literal: &str) -> bool {
    match value {
        Value::String(text) => text == literal,
        Value::Bool(truth) => literal.parse() == Ok(*truth),
        Value::Number(number) => match (number.as_i64(), literal.parse::<i64>()) {
            (Some(number), Ok(literal)) => number == literal,
            _ => literal.parse().ok() == number.as_f64(),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn contains(value: &Value, literal: &str) -> bool {
    match value {
        Value::String(text) => text.contains(literal),
        Value::Array(elements) => elements.iter().any(|element| equals(element, literal)),
        Value::Object(map) => map.contains_key(literal),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "Node": { "Node": "", "Meta": {} },
            "Service": { "ID": "", "Port": 0, "Tags": [""], "Meta": {}, "Old": false },
            "Checks": [{ "Status": "", "Name": "" }],
        })
    }

    fn element() -> Value {
        json!({
            "Node": { "Node": "n1", "Meta": {} },
            "Service": {
                "ID": "web-1", "Port": 80, "Tags": ["v1", "blue"], "Old": true,
                "Meta": { "version": "1.2", "a b": "c", "empty": "" },
            },
            "Checks": [
                { "Status": "passing", "Name": "up" },
                { "Status": "critical", "Name": "disk \"full\"" },
            ],
        })
    }

    #[test]
    fn expressions_select_as_they_say() {
        for (text, expected) in [
            (r#"Service.ID == "web-1""#, true),
            ("Service.ID==`web-1`", true),
            ("Service.ID != web", true),
            ("Service.Port == 80", true),
            ("Service.Port != 80", false),
            ("Service.Old == true and not Service.Old == false", true),
            (r#""v1" in Service.Tags"#, true),
            ("v1 in Service.Tags and v2 not in Service.Tags", true),
            ("Service.Tags contains blue", true),
            ("Service.Tags not contains blue", false),
            ("Service.Meta.version matches `^1\\.[0-9]$`", true),
            ("Service.Meta.version not matches `^2`", true),
            (r#"Service.Meta["a b"] == c"#, true),
            ("Service.Meta.gone == c", false),
            ("Service.Meta.gone != c", true),
            ("Service.Meta.gone is empty and Service.Meta.empty is empty", true),
            ("Service.Meta is not empty and Node.Meta is empty", true),
            ("version in Service.Meta", true),
            (r#""eb" in Service.ID"#, true),
            ("Checks.Status == critical and Checks.Status == passing", true),
            (r#"Checks.Name == "disk \"full\"""#, true),
            ("Checks.Status == warning", false),
            ("Checks is not empty", true),
            ("not (Service.Port == 80 or Service.Port == 81)", false),
            ("Service.Port == 81 and Service.Port == 80 or Service.ID == web-1", true),
            ("Service.Port == 80 or Service.Port == 80 and Service.ID == no", true),
            ("(((Service.Port == 80)))", true),
            ("  not not Service.Port == 80  ", true),
        ] {
            let filter = Filter::parse(text, &sample()).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filter.selects(&element()), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        for (text, at) in [
            ("", 1),
            ("Service.ID", 11),
            ("Service.ID = web", 12),
            ("Service.ID == ", 15),
            ("Service.ID == \"web", 15),
            ("Service.ID == web or", 21),
            ("Service.ID == web web", 19),
            ("(Service.ID == web", 19),
            ("Service.Nope == web", 1),
            ("web in Service.Nope", 8),
            ("Service.Port == eighty", 17),
            ("Service.Port matches 8", 14),
            ("Service.Port is empty", 14),
            ("Service.Tags == v1", 14),
            ("Service == web", 9),
            ("Service.ID matches `(`", 20),
            ("\"web\" == Service.ID", 7),
            ("Service.Meta[version] == 1", 14),
            ("é == 1", 1),
        ] {
            let mistake = Filter::parse(text, &sample()).expect_err(text);
            assert_eq!(mistake.at, at, "{text}: {mistake}");
        }
    }

    #[test]
    fn depth_and_length_are_limited() {
        let deep = format!("{}Service.ID == a{}", "(".repeat(4000), ")".repeat(4000));
        assert!(Filter::parse(&deep, &sample()).is_err());
        let nots = format!("{}Service.ID == a", "not ".repeat(2000));
        assert!(Filter::parse(&nots, &sample()).is_err());
        let long = vec!["Service.ID == a"; 1000].join(" or ");
        assert!(Filter::parse(&long, &sample()).is_err());
        let wide = vec!["Service.ID == a"; 400].join(" or ");
        assert!(Filter::parse(&wide, &sample()).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _any = Filter::parse(&text, &sample());
        }

        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec(prop_oneof![
            Just("Service.ID"), Just("Checks.Status"), Just("Service.Meta[\"a\"]"), Just("=="),
            Just("!="), Just("in"), Just("not"), Just("and"), Just("or"), Just("("), Just(")"),
            Just("is"), Just("empty"), Just("contains"), Just("matches"), Just("\"x\""), Just("`"),
            Just("80"), Just("\\"), Just("["),
        ], 0..12)) {
            if let Ok(filter) = Filter::parse(&words.join(" "), &sample()) {
                let _any = filter.selects(&element());
            }
        }
    }
}
