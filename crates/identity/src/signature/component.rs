//! Message components: their identifiers, and their values in a request (RFC 9421 §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode};
use sfv::{FieldType as _, Item, ListEntry, Parser};

use super::settings::{Structure, Structures};
use crate::credential::Credentials;

/// What may be signed of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Component {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    /// One parameter of the query, by its name as it is encoded.
    QueryParam(String),
    /// A field of the header section, by its name in lower case.
    Field {
        name: String,
        form: Form,
    },
}

/// How a field's value is written for signing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As it is, lines joined by a comma.
    Plain,
    /// As a structured field, strictly (`sf`).
    Strict,
    /// One member of a dictionary (`key`).
    Member(String),
    /// Each line as bytes (`bs`).
    Bytes,
}

/// Why a component has no value. For operators; a client is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// An identifier that is not understood, or not for requests.
    Identifier,
    /// What it names is not in the message, or is there twice.
    Missing,
    /// What it names cannot be read as it says, or cannot be signed.
    Value,
}

impl Component {
    /// What an identifier names. Whatever is not understood is refused, and so is what only a response
    /// (`@status`, `req`) or a trailer section (`tr`) has.
    pub(crate) fn of(item: &Item) -> Result<Self, Unsigned> {
        let name = item.bare_item.as_string().ok_or(Unsigned::Identifier)?.as_str();
        if name.starts_with('@') {
            return Self::derived(name, item);
        }
        let token = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        if name.is_empty() || !name.bytes().all(token) {
            return Err(Unsigned::Identifier);
        }
        let mut form = Form::Plain;
        for (parameter, value) in &item.params {
            form = match (parameter.as_str(), form, value.as_boolean(), value.as_string()) {
                ("sf", Form::Plain, Some(true), _) => Form::Strict,
                ("bs", Form::Plain, Some(true), _) => Form::Bytes,
                // A member is always written strictly.
                ("sf", Form::Member(key), Some(true), _) => Form::Member(key),
                ("key", Form::Plain | Form::Strict, _, Some(key)) => {
                    Form::Member(key.as_str().to_owned())
                }
                _ => return Err(Unsigned::Identifier),
            };
        }
        Ok(Self::Field { name: name.to_owned(), form })
    }

    /// From the way in which the configuration names it: `@method`, `date`, or an identifier as in a
    /// signature, `"@query-param";name="id"`.
    pub(crate) fn from_config(written: &str) -> Option<Self> {
        let quoted = if written.starts_with('"') {
            written.to_owned()
        } else {
            format!("\"{}\"", written.to_ascii_lowercase())
        };
        Self::of(&Parser::new(&quoted).parse().ok()?).ok()
    }

    fn derived(name: &str, item: &Item) -> Result<Self, Unsigned> {
        let mut parameters = item.params.iter();
        if name == "@query-param" {
            let only = parameters.next().filter(|(key, _)| key.as_str() == "name");
            let value = only.and_then(|(_, value)| value.as_string());
            return match (value, parameters.next()) {
                (Some(value), None) => Ok(Self::QueryParam(value.as_str().to_owned())),
                _ => Err(Unsigned::Identifier),
            };
        }
        if parameters.next().is_some() {
            return Err(Unsigned::Identifier);
        }
        Ok(match name {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@request-target" => Self::RequestTarget,
            "@path" => Self::Path,
            "@query" => Self::Query,
            _ => return Err(Unsigned::Identifier),
        })
    }

    /// Writes its value in `request` to `base`.
    pub(crate) fn write(
        &self,
        request: &Credentials<'_>,
        structures: &Structures,
        base: &mut Vec<u8>,
    ) -> Result<(), Unsigned> {
        let (path, query) = split(request.path_and_query);
        match self {
            Self::Method => base.extend_from_slice(request.method.as_str().as_bytes()),
            Self::Scheme => base.extend_from_slice(request.scheme.as_bytes()),
            Self::Authority => write_authority(request, base),
            Self::TargetUri => {
                base.extend_from_slice(request.scheme.as_bytes());
                base.extend_from_slice(b"://");
                write_authority(request, base);
                base.extend_from_slice(request.path_and_query);
            }
            Self::RequestTarget => base.extend_from_slice(request.path_and_query),
            Self::Path if path.is_empty() => base.push(b'/'),
            Self::Path => base.extend_from_slice(path),
            Self::Query => {
                base.push(b'?');
                base.extend_from_slice(query.unwrap_or_default());
            }
            Self::QueryParam(name) => {
                base.extend_from_slice(query_param(query.unwrap_or_default(), name)?.as_bytes());
            }
            Self::Field { name, form } => {
                let mut lines = Vec::new();
                request.fields.named(name, &mut |value| lines.push(trimmed(value)));
                if lines.is_empty() {
                    return Err(Unsigned::Missing);
                }
                form.write(name, &lines, structures, base)?;
            }
        }
        Ok(())
    }
}

impl Form {
    fn write(
        &self,
        name: &str,
        lines: &[&[u8]],
        structures: &Structures,
        base: &mut Vec<u8>,
    ) -> Result<(), Unsigned> {
        match self {
            Self::Plain => base.extend_from_slice(&lines.join(&b", "[..])),
            Self::Bytes => {
                let wrapped = lines.iter().map(|line| format!(":{}:", STANDARD.encode(line)));
                base.extend_from_slice(wrapped.collect::<Vec<_>>().join(", ").as_bytes());
            }
            Self::Strict => {
                let joined = lines.join(&b","[..]);
                let parser = Parser::new(&joined);
                let written = match structures.of(name).ok_or(Unsigned::Value)? {
                    Structure::Item => parser.parse::<Item>().ok().map(|item| item.serialize()),
                    // What is empty has no serialization: such a field would not be sent.
                    Structure::List => {
                        parser.parse::<sfv::List>().ok().and_then(|list| list.serialize())
                    }
                    Structure::Dictionary => {
                        parser.parse::<sfv::Dictionary>().ok().and_then(|all| all.serialize())
                    }
                };
                base.extend_from_slice(written.ok_or(Unsigned::Value)?.as_bytes());
            }
            Self::Member(key) => {
                if structures.of(name) != Some(Structure::Dictionary) {
                    return Err(Unsigned::Value);
                }
                let joined = lines.join(&b","[..]);
                let all: sfv::Dictionary =
                    Parser::new(&joined).parse().map_err(|_| Unsigned::Value)?;
                let mut all = all.into_iter();
                let (_, member) =
                    all.find(|(held, _)| held.as_str() == key).ok_or(Unsigned::Missing)?;
                let written = match member {
                    ListEntry::Item(item) => item.serialize(),
                    list @ ListEntry::InnerList(_) => {
                        vec![list].serialize().ok_or(Unsigned::Value)?
                    }
                };
                base.extend_from_slice(written.as_bytes());
            }
        }
        Ok(())
    }
}

/// Without the white space around it (RFC 9110 §5.6.3), and nothing else.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let to = value.iter().rposition(|byte| !is_space(byte)).map_or(from, |last| last + 1);
    &value[from..to]
}

/// The host in lower case, and the port unless it is the scheme's own (RFC 9110 §4.2.3).
fn write_authority(request: &Credentials<'_>, base: &mut Vec<u8>) {
    let port: &[u8] = if request.scheme == "https" { b":443" } else { b":80" };
    let authority = request.authority.strip_suffix(port).unwrap_or(request.authority);
    let authority = authority.strip_suffix(b":").unwrap_or(authority);
    base.extend(authority.iter().map(u8::to_ascii_lowercase));
}

/// Path and query, the latter without its `?`.
fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// What forms leave as it is (the WHATWG's "application/x-www-form-urlencoded percent-encode set"),
/// with a space as `%20`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// The value of the only parameter whose name is encoded as `wanted`, encoded again.
fn query_param(query: &[u8], wanted: &str) -> Result<String, Unsigned> {
    let again = |bytes: &[u8]| {
        let spaced: Vec<u8> =
            bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let decoded = percent_decode(&spaced).decode_utf8_lossy();
        percent_encoding::utf8_percent_encode(&decoded, FORM).to_string()
    };
    let mut found = None;
    for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        if again(&pair[..at]) != wanted {
            continue;
        }
        if found.is_some() {
            return Err(Unsigned::Missing);
        }
        found = Some(again(pair.get(at + 1..).unwrap_or_default()));
    }
    found.ok_or(Unsigned::Missing)
}
