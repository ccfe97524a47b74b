//! Names in certificates in their one form: a subject as RFC 4514 writes it, a SPIFFE id as it is.

use x509_parser::x509::X509Name;

/// What SPIFFE ids begin with.
pub(super) const SPIFFE: &str = "spiffe://";

/// The short names of attributes (RFC 4514 §3, and the mail address of PKCS #9), by their object
/// identifiers.
const ATTRIBUTES: [(&str, &str); 11] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
];

/// A name as the configuration writes it, in its one form.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn name(written: &str) -> Result<Box<str>, String> {
    if written.starts_with(SPIFFE) {
        return match trust_domain(written) {
            Some(_) => Ok(written.into()),
            None => Err(format!("`{written}` is no SPIFFE id like `spiffe://example.org/till`")),
        };
    }
    let parts = parse(written).ok_or_else(|| {
        format!("`{written}` is no subject like `CN=till,O=Acme`, and no SPIFFE id")
    })?;
    Ok(write(parts.iter().map(Vec::as_slice)))
}

/// The subject of a certificate, its last part first. `None` when it has characters that cannot be
/// read; the inner `None` when it is empty.
pub(super) fn of_subject(subject: &X509Name<'_>) -> Option<Option<Box<str>>> {
    let mut parts = Vec::new();
    for part in subject.iter_rdn() {
        let mut all = Vec::new();
        for attribute in part.iter() {
            let id = attribute.attr_type().to_id_string();
            let short = ATTRIBUTES.iter().find(|(_, known)| *known == id);
            let kind = short.map_or(id.clone(), |(short, _)| (*short).to_owned());
            all.push((kind, attribute.as_str().ok()?.to_owned()));
        }
        all.sort();
        parts.push(all);
    }
    if parts.is_empty() {
        return Some(None);
    }
    Some(Some(write(parts.iter().rev().map(Vec::as_slice))))
}

/// The trust domain of a SPIFFE id, if it is one (SPIFFE-ID §2).
pub(super) fn trust_domain(id: &str) -> Option<&str> {
    let rest = id.strip_prefix(SPIFFE).filter(|_| id.len() <= 2048)?;
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_step =
        |step: &str| !step.is_empty() && step != "." && step != ".." && step.bytes().all(fits);
    let fine = is_trust_domain(domain) && path.is_none_or(|path| path.split('/').all(is_step));
    fine.then_some(domain)
}

pub(super) fn is_trust_domain(domain: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=255).contains(&domain.len()) && domain.bytes().all(fits)
}

/// Type and value.
type Attribute = (String, String);

/// The parts of a subject, each with its attributes in order.
pub(super) fn parse(text: &str) -> Option<Vec<Vec<Attribute>>> {
    let mut parts = vec![Vec::new()];
    let mut rest = text;
    loop {
        let (kind, after) = rest.split_once('=')?;
        let kind = kind_of(kind.trim())?;
        let (value, end, after) = value(after)?;
        parts.last_mut()?.push((kind, value));
        match end {
            None => break,
            Some('+') => {}
            Some(_) => parts.push(Vec::new()),
        }
        rest = after;
    }
    parts.iter_mut().for_each(|part| part.sort());
    Some(parts)
}

/// A type in its one form: its short name in capitals, or its object identifier.
fn kind_of(written: &str) -> Option<String> {
    let upper = written.to_ascii_uppercase();
    let by_name = |(short, id): &&(&str, &str)| *short == upper || *id == written;
    if let Some((short, _)) = ATTRIBUTES.iter().find(by_name) {
        return Some((*short).to_owned());
    }
    let is_number =
        |step: &str| !step.is_empty() && step.bytes().all(|digit| digit.is_ascii_digit());
    let is_id = written.contains('.') && written.split('.').all(is_number);
    is_id.then(|| written.to_owned())
}

/// A value without its escapes, what ended it (`,` or `+`), and what comes after.
fn value(text: &str) -> Option<(String, Option<char>, &str)> {
    let text = text.trim_start_matches(' ');
    // Spaces at the end are not the value's, unless they are escaped.
    let (mut bytes, mut solid) = (Vec::new(), 0);
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => {
                let (_, first) = chars.next()?;
                match first.to_digit(16) {
                    Some(high) => {
                        let low = chars.next()?.1.to_digit(16)?;
                        bytes.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None => bytes.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                solid = bytes.len();
            }
            ',' | '+' => {
                bytes.truncate(solid);
                return Some((String::from_utf8(bytes).ok()?, Some(char), &text[at + 1..]));
            }
            _ => {
                bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                if char != ' ' {
                    solid = bytes.len();
                }
            }
        }
    }
    bytes.truncate(solid);
    Some((String::from_utf8(bytes).ok()?, None, ""))
}

/// Writes parts as RFC 4514 does, with everything escaped that could be read as something else.
pub(super) fn write<'a>(parts: impl Iterator<Item = &'a [Attribute]>) -> Box<str> {
    let mut text = String::new();
    for part in parts {
        for (number, (kind, value)) in part.iter().enumerate() {
            match number {
                0 if text.is_empty() => {}
                0 => text.push(','),
                _ => text.push('+'),
            }
            text.push_str(kind);
            text.push('=');
            escape(value, &mut text);
        }
    }
    text.into()
}

fn escape(value: &str, text: &mut String) {
    use std::fmt::Write as _;
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        match char {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', char]),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            _ if char.is_control() => {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string does not fail.
                    let _written = write!(text, "\\{byte:02X}");
                }
            }
            _ => text.push(char),
        }
    }
}
