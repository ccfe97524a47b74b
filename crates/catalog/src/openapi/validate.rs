//! Compares requests with an OpenAPI document: path, query, header and cookie parameters, the media
//! type and the body. Compiled once for a document; asked on the engine's threads, where it neither
//! blocks nor backtracks.
//!
//! What must hold: what differs is named by where it is in the request; a request of which the
//! document says nothing (another path or method) is none of this one's business.

use std::collections::HashMap;

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::document::{self, Document, In, Parameter, Style};
use super::schema::{Collected, Compiled, Id};
use super::style::{self, Field, Shape};
use crate::contract::Mistake;
use crate::history::escaped;

/// The most parameters of a query, or cookies, that are looked at; more are refused.
const MAX_FIELDS: usize = 1000;
/// The longest message about a value, in bytes.
const LONGEST_MESSAGE: usize = 300;

/// Hands each value of the header of this name over.
pub type Headers<'a> = dyn Fn(&str, &mut dyn FnMut(&[u8])) + 'a;

/// A request, as its head says.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path as it came, without the query.
    pub path: &'a [u8],
    /// Its query as it came, without the `?`.
    pub query: Option<&'a [u8]>,
    /// The values of a header, whose name is in lower case, in order.
    pub headers: &'a Headers<'a>,
}

impl<'a> Call<'a> {
    /// A request by its method and target in origin form, `/users?limit=1`.
    #[must_use]
    pub fn new(method: &'a Method, path_and_query: &'a [u8], headers: &'a Headers<'a>) -> Self {
        let mut parts = path_and_query.splitn(2, |byte| *byte == b'?');
        let path = parts.next().unwrap_or_default();
        Self { method, path, query: parts.next(), headers }
    }
}

/// How a request differs from its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the request: `/body/lines/0/sku`, `/query/limit`, `/header/x-tenant`.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

/// What compares requests with a document.
#[derive(Debug)]
pub struct Validator {
    operations: Vec<Checked>,
    /// By the number of segments: which operations a path may mean.
    templates: HashMap<usize, Vec<Template>>,
    schemas: Compiled,
}

#[derive(Debug)]
struct Template {
    segments: Vec<Segment>,
    operations: Vec<(Method, usize)>,
}

#[derive(Debug)]
enum Segment {
    Literal(Box<[u8]>),
    /// Text and names in turn, beginning and ending with text.
    Parts(Vec<Part>),
}

#[derive(Debug)]
enum Part {
    Text(String),
    Name(String),
}

#[derive(Debug)]
struct Checked {
    parameters: Vec<CheckedParameter>,
    body: Option<CheckedBody>,
}

#[derive(Debug)]
struct CheckedParameter {
    name: String,
    place: In,
    required: bool,
    style: Style,
    explode: bool,
    is_json: bool,
    shape: Shape,
    schema: Option<Id>,
}

#[derive(Debug)]
struct CheckedBody {
    required: bool,
    content: Vec<(MediaRange, Option<Id>)>,
}

/// `application/json`, `text/*`, `*/*`; in lower case, without parameters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MediaRange {
    kind: String,
    sub: String,
}

impl Validator {
    /// Compiles a document.
    pub(crate) fn compile(document: &Document) -> Result<Self, Mistake> {
        let mut collected = Collected::new(document);
        let mut roots = Vec::new();
        let mut add = |pointer: &str| -> Result<Id, Mistake> {
            let id = collected.add(pointer)?;
            roots.push(id);
            Ok(id)
        };
        let mut operations = Vec::with_capacity(document.operations.len());
        let mut templates: HashMap<usize, Vec<Template>> = HashMap::new();
        let mut by_path: HashMap<&str, Vec<(Method, usize)>> = HashMap::new();
        for (index, operation) in document.operations.iter().enumerate() {
            by_path.entry(&operation.path).or_default().push((operation.method.clone(), index));
            let parameters = operation.parameters.iter().map(|parameter| {
                let schema = parameter.schema.as_deref().map(&mut add).transpose()?;
                Ok(CheckedParameter::new(document, parameter, schema))
            });
            let parameters = parameters.collect::<Result<_, Mistake>>()?;
            let body = operation.body.as_ref().map(|body| {
                let mut content = Vec::with_capacity(body.content.len());
                for (media_type, schema) in &body.content {
                    let schema = schema.as_deref().filter(|_| document::is_json(media_type));
                    let schema = schema.map(&mut add).transpose()?;
                    content.push((MediaRange::of(media_type), schema));
                }
                // The most specific first: `*` comes before letters.
                content.sort_by(|one, other| other.0.cmp(&one.0));
                Ok(CheckedBody { required: body.required, content })
            });
            operations.push(Checked { parameters, body: body.transpose()? });
        }
        for (path, operations) in by_path {
            let segments: Vec<Segment> = segments(path).map(Segment::of).collect();
            templates.entry(segments.len()).or_default().push(Template { segments, operations });
        }
        for alike in templates.values_mut() {
            // Literal segments go before parameters, from the left.
            alike.sort_by_key(|template| {
                let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
                template.segments.iter().map(|segment| !is_literal(segment)).collect::<Vec<_>>()
            });
        }
        let schemas = collected.compile(&roots)?;
        Ok(Self { operations, templates, schemas })
    }

    /// Whether the body of such a request is needed to compare it.
    #[must_use]
    pub fn wants_body(&self, prefix: &str, call: &Call<'_>) -> bool {
        let Some((operation, _)) = self.find(prefix, call) else { return false };
        let Some(body) = &operation.body else { return false };
        let has_schema = body.content.iter().any(|(_, schema)| schema.is_some());
        body.required || has_schema
    }

    /// Compares a request with the document, whose paths stand below `prefix`.
    ///
    /// # Errors
    /// The first difference that was found.
    pub fn check(
        &self,
        prefix: &str,
        call: &Call<'_>,
        body: Option<&[u8]>,
    ) -> Result<(), Violation> {
        let Some((operation, caught)) = self.find(prefix, call) else { return Ok(()) };
        let of = |place: In| move |it: &&CheckedParameter| it.place == place;
        for parameter in operation.parameters.iter().filter(of(In::Path)) {
            let text = caught.iter().find(|(name, _)| *name == parameter.name);
            self.text(parameter, text.map(|(_, text)| text.as_str()))?;
        }
        if operation.parameters.iter().any(|it| it.place == In::Query) {
            let query = String::from_utf8_lossy(call.query.unwrap_or_default());
            let fields = fields(&query, '&', "/query")?;
            for parameter in operation.parameters.iter().filter(of(In::Query)) {
                self.field(parameter, &fields)?;
            }
        }
        for parameter in operation.parameters.iter().filter(of(In::Header)) {
            let text = header(call, &parameter.name.to_ascii_lowercase());
            self.text(parameter, text.as_deref())?;
        }
        if operation.parameters.iter().any(|it| it.place == In::Cookie) {
            let cookies = header(call, "cookie").unwrap_or_default();
            let cookies = cookies.replace("; ", ";").replace(", ", ";");
            let fields = fields(&cookies, ';', "/cookie")?;
            for parameter in operation.parameters.iter().filter(of(In::Cookie)) {
                self.field(parameter, &fields)?;
            }
        }
        match &operation.body {
            Some(expected) => self.body(expected, call, body.unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// The operation that a request means, and what its path has in place of parameters.
    fn find<'a>(&'a self, prefix: &str, call: &Call<'_>) -> Option<(&'a Checked, Caught<'a>)> {
        let path = call.path.strip_prefix(prefix.as_bytes())?;
        let path = path.strip_prefix(b"/")?;
        let found: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        for template in self.templates.get(&found.len())? {
            let Some(caught) = template.catch(&found) else { continue };
            let by = |method: &Method| {
                template.operations.iter().find(|(of, _)| of == method).map(|(_, index)| *index)
            };
            let index = by(call.method)
                .or_else(|| if call.method == Method::HEAD { by(&Method::GET) } else { None });
            if let Some(index) = index {
                return Some((self.operations.get(index)?, caught));
            }
        }
        None
    }

    fn text(&self, parameter: &CheckedParameter, text: Option<&str>) -> Result<(), Violation> {
        let Some(text) = text else { return parameter.is_missing() };
        if parameter.is_json {
            return self.json(parameter, text);
        }
        let CheckedParameter { shape, style, explode, name, .. } = parameter;
        match style::of_text(shape, *style, *explode, name, text) {
            Some(value) => self.value(parameter, &value),
            None => Err(parameter.violation("", "it is not written in the style of the parameter")),
        }
    }

    fn field(&self, parameter: &CheckedParameter, fields: &[Field<'_>]) -> Result<(), Violation> {
        if parameter.is_json {
            let found = fields.iter().find(|field| field.name == parameter.name);
            return match found {
                Some(field) => self.json(parameter, &field.value),
                None => parameter.is_missing(),
            };
        }
        let CheckedParameter { shape, style, explode, name, .. } = parameter;
        match style::of_fields(shape, *style, *explode, name, fields) {
            Some(value) => self.value(parameter, &value),
            None => parameter.is_missing(),
        }
    }

    fn json(&self, parameter: &CheckedParameter, text: &str) -> Result<(), Violation> {
        let value = serde_json::from_str(text);
        let value = value.map_err(|error| parameter.violation("", format!("no JSON: {error}")))?;
        self.value(parameter, &value)
    }

    fn value(&self, parameter: &CheckedParameter, value: &Value) -> Result<(), Violation> {
        let place = parameter.place.word();
        let at = format!("/{place}/{}", escaped(&parameter.name));
        self.compare(parameter.schema, &at, value)
    }

    fn compare(&self, schema: Option<Id>, at: &str, value: &Value) -> Result<(), Violation> {
        let Some(schema) = schema.and_then(|id| self.schemas.validators.get(&id)) else {
            return Ok(());
        };
        let deepest = self.schemas.deepest;
        if is_deeper(value, deepest) {
            return Err(Violation::at(at, format!("it is nested more than {deepest} levels deep")));
        }
        match schema.validate(value) {
            Ok(()) => Ok(()),
            Err(error) => Err(told(at, &error)),
        }
    }

    fn body(&self, expected: &CheckedBody, call: &Call<'_>, body: &[u8]) -> Result<(), Violation> {
        let content_type = header(call, "content-type");
        if body.is_empty() {
            if expected.required {
                return Err(Violation::at("/body", "a body is required"));
            }
            if content_type.is_none() {
                return Ok(());
            }
        }
        let Some(content_type) = content_type else {
            let message = format!("it is missing: {} is wanted", expected.kinds());
            return Err(Violation::at("/header/content-type", message));
        };
        let given = MediaRange::of(&content_type);
        let Some((_, schema)) = expected.content.iter().find(|(range, _)| range.holds(&given))
        else {
            let message = format!("`{given}` is not taken: {} is wanted", expected.kinds());
            return Err(Violation::at("/header/content-type", message));
        };
        if schema.is_none() || body.is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Violation::at("/body", format!("this is no JSON: {error}")))?;
        self.compare(*schema, "/body", &value)
    }
}

type Caught<'a> = Vec<(&'a str, String)>;

impl Template {
    /// What stands in place of parameters, decoded; `None` when the path is another.
    fn catch<'a>(&'a self, found: &[&[u8]]) -> Option<Caught<'a>> {
        let mut caught = Vec::new();
        for (segment, found) in self.segments.iter().zip(found) {
            match segment {
                Segment::Literal(text) => {
                    if !percent_decode_str_bytes(found).eq(text.iter().copied()) {
                        return None;
                    }
                }
                Segment::Parts(parts) => parted(parts, found, &mut caught)?,
            }
        }
        Some(caught)
    }
}

fn percent_decode_str_bytes(text: &[u8]) -> impl Iterator<Item = u8> {
    percent_encoding::percent_decode(text)
}

/// Matches text and names in turn, each name as short as can be but for the last two.
fn parted<'a>(parts: &'a [Part], found: &[u8], caught: &mut Caught<'a>) -> Option<()> {
    let decoded = percent_decode_str(std::str::from_utf8(found).ok()?);
    let decoded = decoded.decode_utf8_lossy();
    let mut rest = decoded.as_ref();
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
            Part::Name(name) => {
                let end = match parts.get(index + 1) {
                    None => rest.len(),
                    Some(Part::Text(next)) if index + 2 == parts.len() => {
                        rest.strip_suffix(next.as_str())?.len()
                    }
                    // The last one is the short one: of `a.b.png` the kind is `png`.
                    Some(Part::Text(next)) if index + 3 == parts.len() => {
                        rest.rfind(next.as_str())?
                    }
                    Some(Part::Text(next)) => rest.find(next.as_str())?,
                    Some(Part::Name(_)) => return None,
                };
                if end == 0 {
                    return None;
                }
                let (value, after) = rest.split_at(end);
                caught.push((name, value.to_owned()));
                rest = after;
            }
        }
    }
    rest.is_empty().then_some(())
}

impl Segment {
    fn of(template: &str) -> Self {
        if !template.contains('{') {
            return Self::Literal(percent_decode_str(template).collect());
        }
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Self::Parts(parts)
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

impl CheckedParameter {
    fn new(document: &Document, parameter: &Parameter, schema: Option<Id>) -> Self {
        let pointer = parameter.schema.as_deref();
        Self {
            name: parameter.name.clone(),
            place: parameter.place,
            required: parameter.required,
            style: parameter.style,
            explode: parameter.explode,
            is_json: parameter.is_json,
            shape: pointer.map(|pointer| Shape::of(document, pointer)).unwrap_or_default(),
            schema,
        }
    }

    fn is_missing(&self) -> Result<(), Violation> {
        if self.required { Err(self.violation("", "it is required")) } else { Ok(()) }
    }

    fn violation(&self, below: &str, message: impl Into<String>) -> Violation {
        let pointer = format!("/{}/{}{below}", self.place.word(), escaped(&self.name));
        Violation { pointer, message: message.into() }
    }
}

impl CheckedBody {
    fn kinds(&self) -> String {
        let kinds: Vec<String> =
            self.content.iter().rev().map(|(range, _)| format!("`{range}`")).collect();
        kinds.join(" or ")
    }
}

impl MediaRange {
    fn of(text: &str) -> Self {
        let text = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (kind, sub) = text.split_once('/').unwrap_or((&text, ""));
        Self { kind: kind.to_owned(), sub: sub.to_owned() }
    }

    fn holds(&self, given: &Self) -> bool {
        (self.kind == "*" || self.kind == given.kind) && (self.sub == "*" || self.sub == given.sub)
    }
}

impl std::fmt::Display for MediaRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.sub)
    }
}

impl Violation {
    fn at(pointer: &str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), message: message.into() }
    }
}

/// All values of a header as one.
fn header(call: &Call<'_>, name: &str) -> Option<String> {
    let mut whole: Option<String> = None;
    (call.headers)(name, &mut |value| {
        let value = String::from_utf8_lossy(value);
        match &mut whole {
            None => whole = Some(value.trim().to_owned()),
            Some(whole) => {
                whole.push_str(", ");
                whole.push_str(value.trim());
            }
        }
    });
    whole
}

fn fields<'a>(text: &'a str, separator: char, at: &str) -> Result<Vec<Field<'a>>, Violation> {
    let parts = text.split(separator).filter(|part| !part.is_empty());
    let mut fields = Vec::new();
    for part in parts {
        if fields.len() >= MAX_FIELDS {
            return Err(Violation::at(at, format!("more than {MAX_FIELDS} of them")));
        }
        let (name, raw) = part.split_once('=').unwrap_or((part, ""));
        fields.push(Field { name: style::decoded(name), value: style::decoded(raw), raw });
    }
    Ok(fields)
}

/// What JSON Schema says of a value, with the field that is missing or too much named as well. The
/// value itself is left out: it is the client's own, and may be large or secret.
fn told(at: &str, error: &jsonschema::ValidationError<'_>) -> Violation {
    use jsonschema::error::ValidationErrorKind as Kind;
    let mut pointer = format!("{at}{}", error.instance_path());
    let message = match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            pointer.push('/');
            pointer.push_str(&escaped(name));
            "it is required".to_owned()
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            if let Some(first) = unexpected.first() {
                pointer.push('/');
                pointer.push_str(&escaped(first));
            }
            "there is no such field".to_owned()
        }
        _ => error.masked_with("the value").to_string(),
    };
    Violation { pointer: shortened(pointer), message: shortened(message) }
}

/// Whether values stand within each other beyond this. Recursion ends where reading does.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, below)),
        Value::Object(map) => map.values().any(|value| is_deeper(value, below)),
        _ => false,
    }
}

fn shortened(mut text: String) -> String {
    while text.len() > LONGEST_MESSAGE {
        text.pop();
    }
    text
}
