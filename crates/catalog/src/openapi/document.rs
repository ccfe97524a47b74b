//! From a tree to what an OpenAPI document says of requests: operations, their parameters and bodies.
//! Schemas stay where they are in the tree, and are named by JSON pointers.

use std::collections::{BTreeMap, HashMap, HashSet};

use http::Method;
use serde_json::{Map, Value};

use super::reference;
use crate::contract::Mistake;
use crate::history::escaped;

/// The most operations of a document.
const MAX_OPERATIONS: usize = 3000;
/// The most parameters of an operation.
const MAX_PARAMETERS: usize = 200;
/// The most mistakes that are told.
const MAX_MISTAKES: usize = 50;
/// The most segments of a path.
const MAX_SEGMENTS: usize = 40;

const METHODS: [(&str, Method); 8] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
    ("trace", Method::TRACE),
];

/// Which OpenAPI it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// 3.0, whose schemas are nearly those of JSON Schema.
    V30,
    /// 3.1, whose schemas are those of JSON Schema 2020-12.
    V31,
}

/// An OpenAPI document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Which OpenAPI it is.
    pub edition: Edition,
    /// Its title.
    pub title: String,
    /// Its own version, as its authors count.
    pub version: String,
    /// The path of its first server, without a final `/`.
    pub base: String,
    /// Its operations, by path and method as they stand.
    pub operations: Vec<Operation>,
    /// The whole.
    pub(super) root: Value,
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Where it stands.
    pub pointer: String,
    /// Its method.
    pub method: Method,
    /// The template of its path, below the server's.
    pub path: String,
    /// Its name, if it has one.
    pub id: Option<String>,
    /// Whether it is marked as deprecated.
    pub deprecated: bool,
    /// Its parameters, those of its path included.
    pub parameters: Vec<Parameter>,
    /// Its request body.
    pub body: Option<Body>,
    /// Where its responses stand, by status: `200`, `2XX`, `default`.
    pub responses: BTreeMap<String, String>,
}

/// Where a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum In {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// A header.
    Header,
    /// A cookie.
    Cookie,
}

impl In {
    /// Its word in the document.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// How the parts of a value are put together in a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `a,b`.
    Simple,
    /// `.a.b`.
    Label,
    /// `;name=a;name=b`.
    Matrix,
    /// `name=a&name=b`.
    Form,
    /// `name=a%20b`.
    SpaceDelimited,
    /// `name=a|b`.
    PipeDelimited,
    /// `name[key]=a`.
    DeepObject,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Where it stands.
    pub pointer: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: In,
    /// Whether a request must have it.
    pub required: bool,
    /// How its parts are put together.
    pub style: Style,
    /// Whether each part stands for itself.
    pub explode: bool,
    /// Where its schema stands, if it has one.
    pub schema: Option<String>,
    /// Whether it is written as JSON (`content`) and in no style.
    pub is_json: bool,
}

/// A request body.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Where it stands.
    pub pointer: String,
    /// Whether a request must have it.
    pub required: bool,
    /// Where the schema of each media type stands, if it has one.
    pub content: Vec<(String, Option<String>)>,
}

/// Reads a tree.
pub(super) fn document(root: Value) -> Result<Document, Vec<Mistake>> {
    let mut reader = Reader { root: &root, mistakes: Vec::new() };
    let edition = reader.edition();
    let read = edition.map(|edition| {
        let (title, version) = reader.info();
        reader.references();
        let base = reader.base();
        (edition, title, version, base, reader.operations())
    });
    let mistakes = reader.mistakes;
    match read {
        Some((edition, title, version, base, operations)) if mistakes.is_empty() => {
            Ok(Document { edition, title, version, base, operations, root })
        }
        _ => Err(mistakes),
    }
}

impl Document {
    /// What stands at a pointer, after references.
    pub(super) fn find<'a>(&'a self, pointer: &str) -> Option<(String, &'a Value)> {
        reference::follow(&self.root, pointer).ok()
    }
}

struct Reader<'a> {
    root: &'a Value,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    fn mistake(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(Mistake::at(pointer, message));
        }
    }

    fn edition(&mut self) -> Option<Edition> {
        let Some(root) = self.root.as_object() else {
            self.mistake("", "an OpenAPI document is a mapping");
            return None;
        };
        if root.contains_key("swagger") {
            self.mistake("/swagger", "Swagger 2.0 is not read: convert the document to OpenAPI 3");
            return None;
        }
        match root.get("openapi") {
            Some(Value::String(version)) if is_edition(version, "3.0") => Some(Edition::V30),
            Some(Value::String(version)) if is_edition(version, "3.1") => Some(Edition::V31),
            Some(Value::String(version)) => {
                let message = format!("OpenAPI `{version}` is not read: 3.0 and 3.1 are");
                self.mistake("/openapi", message);
                None
            }
            Some(_) => {
                self.mistake("/openapi", "the version is text: write it in quotes, like \"3.1.0\"");
                None
            }
            None => {
                self.mistake("", "`openapi` is missing, which says the version: `openapi: 3.1.0`");
                None
            }
        }
    }

    fn info(&mut self) -> (String, String) {
        let Some(info) = self.root.get("info").and_then(Value::as_object) else {
            self.mistake("/info", "`info` is missing, with `title` and `version`");
            return Default::default();
        };
        let mut text = |key: &str| match info.get(key) {
            Some(Value::String(text)) => text.clone(),
            found => {
                let what = if found.is_some() { "no text: write it in quotes" } else { "missing" };
                self.mistake(format!("/info/{key}"), format!("`{key}` is {what}"));
                String::new()
            }
        };
        (text("title"), text("version"))
    }

    /// Every reference leads somewhere in the document, in few steps.
    fn references(&mut self) {
        for (pointer, message) in reference::broken(self.root, MAX_MISTAKES) {
            self.mistake(pointer, message);
        }
    }

    fn base(&mut self) -> String {
        let Some(servers) = self.root.get("servers") else { return String::new() };
        let Some(servers) = servers.as_array() else {
            self.mistake("/servers", "servers are a list");
            return String::new();
        };
        let Some(server) = servers.first() else { return String::new() };
        let Some(url) = server.get("url").and_then(Value::as_str) else {
            self.mistake("/servers/0/url", "a server has a `url`, which is text");
            return String::new();
        };
        let mut filled = url.to_owned();
        let variables = server.get("variables").and_then(Value::as_object);
        for (name, variable) in variables.into_iter().flatten() {
            let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
            filled = filled.replace(&format!("{{{name}}}"), default);
        }
        let path = match filled.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None if filled.starts_with("//") => {
                filled[2..].find('/').map_or("", |at| &filled[2 + at..])
            }
            None if filled.starts_with('/') => &filled,
            // Relative to where the document is, which nobody knows here.
            None => "",
        };
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        if path.contains(['{', '}', ' ']) || path.contains("//") {
            let message = format!("its path `{path}` cannot begin the path of a route");
            self.mistake("/servers/0/url", message);
            return String::new();
        }
        path.to_owned()
    }

    fn operations(&mut self) -> Vec<Operation> {
        let mut operations = Vec::new();
        let paths = match self.root.get("paths") {
            Some(Value::Object(paths)) => paths,
            None if self.root.get("webhooks").is_some()
                || self.root.get("components").is_some() =>
            {
                return operations;
            }
            _ => {
                self.mistake("/paths", "`paths` is missing, or no mapping");
                return operations;
            }
        };
        let mut shapes: HashMap<String, &str> = HashMap::new();
        for (path, _) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
            let at = format!("/paths/{}", escaped(path));
            if let Err(message) = is_template(path) {
                self.mistake(&at, message);
                continue;
            }
            if let Some(first) = shapes.insert(shape(path), path) {
                self.mistake(&at, format!("it means the same paths as `{first}`"));
            }
            let Some((at, item)) = self.object(&at) else { continue };
            let shared = self.parameters(&at, item);
            for (key, method) in METHODS {
                if !item.contains_key(key) {
                    continue;
                }
                if operations.len() >= MAX_OPERATIONS {
                    self.mistake("/paths", format!("more than {MAX_OPERATIONS} operations"));
                    return operations;
                }
                operations.extend(self.operation(&format!("{at}/{key}"), path, method, &shared));
            }
        }
        self.distinct(&operations);
        operations
    }

    fn distinct(&mut self, operations: &[Operation]) {
        let mut ids = HashSet::new();
        for operation in operations {
            let Some(id) = &operation.id else { continue };
            if !ids.insert(id) {
                let at = format!("{}/operationId", operation.pointer);
                self.mistake(at, format!("another operation is called `{id}` too"));
            }
        }
    }

    fn operation(
        &mut self,
        at: &str,
        path: &str,
        method: Method,
        shared: &[Parameter],
    ) -> Option<Operation> {
        let (pointer, operation) = self.object(at)?;
        let mut parameters = self.parameters(&pointer, operation);
        for parameter in shared {
            let is_same =
                |own: &Parameter| own.name == parameter.name && own.place == parameter.place;
            if !parameters.iter().any(is_same) {
                parameters.push(parameter.clone());
            }
        }
        self.in_template(&pointer, path, &parameters);
        let body = operation.contains_key("requestBody");
        let body = if body { self.body(&format!("{pointer}/requestBody")) } else { None };
        Some(Operation {
            method,
            path: path.to_owned(),
            id: operation.get("operationId").and_then(Value::as_str).map(ToOwned::to_owned),
            deprecated: operation.get("deprecated") == Some(&Value::Bool(true)),
            parameters,
            body,
            responses: self.responses(&pointer, operation),
            pointer,
        })
    }

    /// Parameters of the path and of its template are the same.
    fn in_template(&mut self, at: &str, path: &str, parameters: &[Parameter]) {
        let declared: HashSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter.place == In::Path)
            .map(|parameter| parameter.name.as_str())
            .collect();
        let named: HashSet<&str> = names(path).collect();
        for name in &named {
            if !declared.contains(name) {
                self.mistake(at, format!("the path's parameter `{name}` is not described"));
            }
        }
        for parameter in parameters.iter().filter(|parameter| parameter.place == In::Path) {
            if !named.contains(parameter.name.as_str()) {
                let message = format!("the path `{path}` has no parameter `{}`", parameter.name);
                self.mistake(&parameter.pointer, message);
            }
        }
    }

    fn parameters(&mut self, at: &str, holder: &Map<String, Value>) -> Vec<Parameter> {
        let Some(written) = holder.get("parameters") else { return Vec::new() };
        let at = format!("{at}/parameters");
        let Some(written) = written.as_array() else {
            self.mistake(at, "parameters are a list");
            return Vec::new();
        };
        if written.len() > MAX_PARAMETERS {
            self.mistake(at, format!("more than {MAX_PARAMETERS} parameters"));
            return Vec::new();
        }
        let mut parameters: Vec<Parameter> = Vec::with_capacity(written.len());
        for index in 0..written.len() {
            let Some(parameter) = self.parameter(&format!("{at}/{index}")) else { continue };
            let is_same =
                |other: &Parameter| other.name == parameter.name && other.place == parameter.place;
            if parameters.iter().any(is_same) {
                let message = format!("`{}` is described twice", parameter.name);
                self.mistake(format!("{at}/{index}"), message);
            } else {
                parameters.push(parameter);
            }
        }
        parameters
    }

    /// `None` for a header that is not described as a parameter, and for a mistake.
    fn parameter(&mut self, at: &str) -> Option<Parameter> {
        let (pointer, parameter) = self.object(at)?;
        let Some(name) = parameter.get("name").and_then(Value::as_str) else {
            self.mistake(&pointer, "a parameter has a `name`, which is text");
            return None;
        };
        let place = match parameter.get("in").and_then(Value::as_str) {
            Some("path") => In::Path,
            Some("query") => In::Query,
            Some("header") => In::Header,
            Some("cookie") => In::Cookie,
            _ => {
                let message = "a parameter is `in` one of path, query, header and cookie";
                self.mistake(format!("{pointer}/in"), message);
                return None;
            }
        };
        let told_elsewhere = ["accept", "content-type", "authorization"];
        if place == In::Header && told_elsewhere.iter().any(|it| name.eq_ignore_ascii_case(it)) {
            return None;
        }
        let required = self.flag(&pointer, parameter, "required")?.unwrap_or(false);
        if place == In::Path && !required {
            let message = format!("the path's parameter `{name}` has `required: true`");
            self.mistake(&pointer, message);
        }
        let style = self.style(&pointer, parameter, place)?;
        let explode = self.flag(&pointer, parameter, "explode")?;
        let content = parameter.get("content").and_then(Value::as_object);
        let of_content = content.and_then(|content| content.iter().next());
        let (schema, is_json) = match of_content {
            Some((media_type, media)) => {
                let at = format!("{pointer}/content/{}/schema", escaped(media_type));
                let is_json = is_json(media_type);
                (media.get("schema").filter(|_| is_json).map(|_| at), is_json)
            }
            None => (parameter.get("schema").map(|_| format!("{pointer}/schema")), false),
        };
        Some(Parameter {
            name: name.to_owned(),
            place,
            required,
            style,
            explode: explode.unwrap_or(style == Style::Form),
            schema,
            is_json,
            pointer,
        })
    }

    fn style(&mut self, at: &str, parameter: &Map<String, Value>, place: In) -> Option<Style> {
        let written = parameter.get("style").map(|style| style.as_str().unwrap_or_default());
        let style = match (place, written) {
            (In::Path | In::Header, None | Some("simple")) => Style::Simple,
            (In::Path, Some("label")) => Style::Label,
            (In::Path, Some("matrix")) => Style::Matrix,
            (In::Query | In::Cookie, None | Some("form")) => Style::Form,
            (In::Query, Some("spaceDelimited")) => Style::SpaceDelimited,
            (In::Query, Some("pipeDelimited")) => Style::PipeDelimited,
            (In::Query, Some("deepObject")) => Style::DeepObject,
            (place, style) => {
                let style = style.unwrap_or_default();
                let message = format!("`{style}` is no style of a parameter in {}", place.word());
                self.mistake(format!("{at}/style"), message);
                return None;
            }
        };
        Some(style)
    }

    fn body(&mut self, at: &str) -> Option<Body> {
        let (pointer, body) = self.object(at)?;
        let required = self.flag(&pointer, body, "required")?.unwrap_or(false);
        let Some(content) = body.get("content").and_then(Value::as_object) else {
            self.mistake(&pointer, "a request body has `content`, by media type");
            return None;
        };
        let mut read = Vec::with_capacity(content.len());
        for (media_type, media) in content {
            let at = format!("{pointer}/content/{}", escaped(media_type));
            if media_type.split(';').next().is_none_or(|kind| !kind.contains('/')) {
                self.mistake(&at, format!("`{media_type}` is no media type"));
            }
            if !media.is_object() {
                self.mistake(&at, "what is said of a media type is a mapping");
            }
            read.push((media_type.clone(), media.get("schema").map(|_| format!("{at}/schema"))));
        }
        Some(Body { pointer, required, content: read })
    }

    fn responses(&mut self, at: &str, operation: &Map<String, Value>) -> BTreeMap<String, String> {
        let at = format!("{at}/responses");
        let responses = match operation.get("responses") {
            Some(Value::Object(responses)) => responses,
            None => return BTreeMap::new(),
            Some(_) => {
                self.mistake(at, "responses are a mapping, by status");
                return BTreeMap::new();
            }
        };
        let mut read = BTreeMap::new();
        for status in responses.keys().filter(|status| !status.starts_with("x-")) {
            let at = format!("{at}/{}", escaped(status));
            if !is_status(status) {
                self.mistake(&at, format!("`{status}` is no status: `200`, `2XX` or `default`"));
            }
            if let Some((pointer, _)) = self.object(&at) {
                read.insert(status.clone(), pointer);
            }
        }
        read
    }

    /// A mapping, after references.
    fn object(&mut self, at: &str) -> Option<(String, &'a Map<String, Value>)> {
        // Broken references are told already.
        let (pointer, value) = reference::follow(self.root, at).ok()?;
        match value {
            Value::Object(map) => Some((pointer, map)),
            _ => {
                self.mistake(pointer, "a mapping is wanted here");
                None
            }
        }
    }

    /// `None` for a mistake.
    fn flag(&mut self, at: &str, map: &Map<String, Value>, key: &str) -> Option<Option<bool>> {
        match map.get(key) {
            None => Some(None),
            Some(Value::Bool(flag)) => Some(Some(*flag)),
            Some(_) => {
                self.mistake(format!("{at}/{key}"), format!("`{key}` is true or false"));
                None
            }
        }
    }
}

/// `3.1`, `3.1.0`, `3.1.0-rc1`.
fn is_edition(version: &str, wanted: &str) -> bool {
    version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_status(status: &str) -> bool {
    let range = |digits: &str| {
        matches!(digits.as_bytes(), [b'1'..=b'5', b'X', b'X'])
            || digits.len() == 3 && digits.parse().is_ok_and(|code: u16| (100..600).contains(&code))
    };
    status == "default" || range(status)
}

/// Whether a media type is JSON: `application/json`, `application/vnd.shop+json`.
pub(super) fn is_json(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

/// Whether this may be a path of the document: what is not, no route could be.
fn is_template(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("the path `{path}` does not begin with `/`"));
    }
    if path.split('/').count() > MAX_SEGMENTS {
        return Err(format!("the path has more than {MAX_SEGMENTS} segments"));
    }
    if path.contains(['?', '#', ' ', '\\', '"', '<', '>']) || path.chars().any(char::is_control) {
        return Err(format!("the path `{path}` has a character that no path has: escape it"));
    }
    for segment in path.split('/') {
        let mut rest = segment;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("`{segment}` has a `{{` without its `}}`"));
            };
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return Err(format!("`{segment}` has braces that are none of a parameter"));
            }
            if after.starts_with('{') {
                return Err(format!("where two parameters part in `{segment}` cannot be told"));
            }
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("`{segment}` has a `}}` without its `{{`"));
        }
    }
    let names: Vec<&str> = names(path).collect();
    match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        Some((_, name)) => Err(format!("the path has the parameter `{name}` twice")),
        None => Ok(()),
    }
}

/// The names of the parameters of a template.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0))
}

/// What a template means beside the names of its parameters.
pub(super) fn shape(path: &str) -> String {
    let mut parts = path.split('{');
    let mut shape = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shape.push_str("{}");
        shape.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
    }
    shape
}
