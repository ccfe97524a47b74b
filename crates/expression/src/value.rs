//! What an expression sees and makes. Nothing is copied that need not be: text and JSON are borrowed from
//! the call, and an [`Object`] is asked for the fields that an expression names, and for no others.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::Value as Json;

/// A value of CEL. Numbers of different kinds compare by what they are worth.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// Another number.
    Double(f64),
    /// Text.
    Text(Held<'a, str>),
    /// Bytes.
    Bytes(Held<'a, [u8]>),
    /// Values in order.
    List(List<'a>),
    /// Values by key.
    Map(Map<'a>),
}

/// What is borrowed, or was made and is shared: another handle never costs a copy.
#[derive(Debug)]
pub enum Held<'a, T: ?Sized> {
    /// Borrowed from what the expression sees.
    Borrowed(&'a T),
    /// Made.
    Made(Rc<T>),
}

impl<T: ?Sized> Clone for Held<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(value) => Self::Borrowed(value),
            Self::Made(value) => Self::Made(Rc::clone(value)),
        }
    }
}

impl<T: ?Sized> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(value) => value,
            Self::Made(value) => value,
        }
    }
}

/// Values in order.
#[derive(Clone)]
pub enum List<'a> {
    /// Made by the expression.
    Made(Rc<Vec<Value<'a>>>),
    /// From a JSON document.
    Json(&'a [Json]),
    /// Texts.
    Texts(&'a [Box<str>]),
}

/// Values by key.
#[derive(Clone)]
pub enum Map<'a> {
    /// Made by the expression, in the order of writing.
    Made(Rc<Vec<(Value<'a>, Value<'a>)>>),
    /// From a JSON document.
    Json(&'a serde_json::Map<String, Json>),
    /// Something that finds its fields when asked.
    Object(&'a dyn Object),
}

/// Something whose fields are found when they are asked for.
pub trait Object {
    /// The field of this name.
    fn get(&self, name: &str) -> Option<Value<'_>>;

    /// The names of all fields.
    fn names(&self) -> Vec<Held<'_, str>>;
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{{{} entries}}", self.len())
    }
}

impl<'a> Value<'a> {
    /// Text that is borrowed.
    #[must_use]
    pub const fn text(text: &'a str) -> Self {
        Self::Text(Held::Borrowed(text))
    }

    /// Text that was made.
    #[must_use]
    pub fn made(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Held::Made(text.into()))
    }

    /// Text, or nothing.
    #[must_use]
    pub fn text_or_null(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// What is in a JSON document. Whole numbers stay whole.
    #[must_use]
    pub fn json(value: &'a Json) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number
                .as_i64()
                .map(Self::Int)
                .or_else(|| number.as_u64().map(Self::Uint))
                .unwrap_or_else(|| Self::Double(number.as_f64().unwrap_or(f64::NAN))),
            Json::String(text) => Self::text(text),
            Json::Array(values) => Self::List(List::Json(values)),
            Json::Object(map) => Self::Map(Map::Json(map)),
        }
    }

    /// The name of its type, as `type()` and messages tell it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// A scalar as text, for keys under which calls are counted. `None` for lists, maps and null.
    #[must_use]
    pub fn to_key(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Uint(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(number.to_string()),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes),
            Self::Null | Self::List(_) | Self::Map(_) => return None,
        })
    }

    /// The order of two values of one kind; numbers of all kinds are of one.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Uint(one), Self::Uint(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Uint(other)) => Some(i128::from(*one).cmp(&(*other).into())),
            (Self::Uint(one), Self::Int(other)) => Some(i128::from(*one).cmp(&(*other).into())),
            (Self::Double(one), other) => one.partial_cmp(&other.as_double()?),
            (one, Self::Double(other)) => one.as_double()?.partial_cmp(other),
            (Self::Text(one), Self::Text(other)) => Some((**one).cmp(&**other)),
            (Self::Bytes(one), Self::Bytes(other)) => Some((**one).cmp(&**other)),
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "what CEL says of comparing with a double")]
    const fn as_double(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Uint(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'a> List<'a> {
    /// How many values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Made(values) => values.len(),
            Self::Json(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at this place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Made(values) => values.get(index).cloned(),
            Self::Json(values) => values.get(index).map(Value::json),
            Self::Texts(values) => values.get(index).map(|text| Value::text(text)),
        }
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Made(entries) => entries.len(),
            Self::Json(map) => map.len(),
            Self::Object(object) => object.names().len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Made(entries) => entries
                .iter()
                .find(|(key, _)| matches!(key, Value::Text(text) if **text == *name))
                .map(|(_, value)| value.clone()),
            Self::Json(map) => map.get(name).map(Value::json),
            Self::Object(object) => object.get(name),
        }
    }

    /// The keys in order.
    #[must_use]
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Made(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Json(map) => map.keys().map(|key| Value::text(key)).collect(),
            Self::Object(object) => object.names().into_iter().map(Value::Text).collect(),
        }
    }
}
