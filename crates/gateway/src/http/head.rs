//! One header section in flat form: the bytes as they came, an index over them, and what was added.
//!
//! A request passes through a gateway with most of its fields untouched, so they are never taken
//! apart: the index holds places in the received bytes, and writing copies whole runs of lines at
//! once. What the gateway adds is appended to a second buffer in the same form; what HTTP/2 brings is
//! kept as its library holds it, and handed back uncopied. Every line that is written is `name: value`: a received line with other white space is
//! written anew, so that no recipient sees a shape that the parser was asked to tolerate.

use bytes::{BufMut as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::chars;
use super::known::HOP_BY_HOP;
pub use super::known::Known;

/// Fields that the index has room for before it grows. It lies on the heap: a section is handed on
/// from phase to phase more often than it is made.
const FIRST_FIELDS: usize = 20;
/// Bytes for added lines: what a gateway adds to a request fits without growing again.
const FIRST_EXTRA: usize = 512;

/// A header section, or a trailer section: fields in the order of arrival, names in any case.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    raw: Bytes,
    extra: Vec<u8>,
    /// What came over HTTP/2.
    parts: Vec<(HeaderName, HeaderValue)>,
    fields: Vec<Field>,
    /// The names that may be present, one bit each: a bit outlives the removal of its field.
    present: u64,
}

/// A place in one of the two buffers, or the number of a part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
    known: Known,
    source: Source,
    /// Whether the line is `name: value\r\n`, so that it may be copied with its neighbours.
    plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Raw,
    Extra,
    Part,
}

/// What [`Fields::strip_hop_by_hop`] found and removed that its caller may want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// `TE` held `trailers`: the sender reads trailers (RFC 9110 §10.1.4). gRPC needs it renewed.
    pub te_trailers: bool,
}

impl Fields {
    /// An empty section.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a field by its places in bytes that [`Fields::settle`] hands over afterwards. Two steps
    /// because the places are found while the read buffer is borrowed.
    pub(crate) fn note(&mut self, known: Known, name: Span, value: Span, plain: bool) {
        self.present |= known.bit();
        self.index(Field { name, value, known, source: Source::Raw, plain });
    }

    /// The received bytes that the noted places are in.
    pub(crate) fn settle(&mut self, raw: Bytes) {
        self.raw = raw;
    }

    /// How many field lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Every field in order: what is known of its name, its name as received, its value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.known, self.name(field), self.value(field)))
    }

    /// The first value under a known name. [`Known::Other`] names nothing.
    #[must_use]
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Whether there is a field of any of these names, each given by its bit.
    pub(crate) fn has_any(&self, names: u64) -> bool {
        self.present & names != 0 && self.fields.iter().any(|field| names & field.known.bit() != 0)
    }

    /// Every value under a known name, in order.
    pub fn all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        let fields = if self.may_hold(name) { self.fields.as_slice() } else { &[] };
        fields.iter().filter(move |field| field.known == name).map(|field| self.value(field))
    }

    /// The first value under any name, in any case.
    #[must_use]
    pub fn get_named(&self, name: &[u8]) -> Option<&[u8]> {
        match Known::of(name) {
            Known::Other => self
                .iter()
                .find(|(known, held, _)| *known == Known::Other && held.eq_ignore_ascii_case(name))
                .map(|(_, _, value)| value),
            known => self.get(known),
        }
    }

    /// Every value under any name, in any case, in order.
    pub fn all_named<'a, 'n>(
        &'a self,
        name: &'n [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let known = Known::of(name);
        let is_there = known == Known::Other || self.may_hold(known);
        let fields = if is_there { self.fields.as_slice() } else { &[] };
        let fields = fields.iter().filter(move |field| {
            field.known == known
                && (known != Known::Other || self.name(field).eq_ignore_ascii_case(name))
        });
        fields.map(|field| self.value(field))
    }

    /// Removes every field of a known name; returns how many there were.
    pub fn remove(&mut self, name: Known) -> usize {
        if !self.may_hold(name) {
            return 0;
        }
        self.present &= !name.bit();
        let before = self.fields.len();
        self.fields.retain(|field| field.known != name);
        before - self.fields.len()
    }

    /// Removes every field of a name, in any case; returns how many there were.
    pub fn remove_named(&mut self, name: &[u8]) -> usize {
        match Known::of(name) {
            Known::Other => {
                let before = self.fields.len();
                let mut fields = std::mem::take(&mut self.fields);
                fields.retain(|field| {
                    field.known != Known::Other || !self.name(field).eq_ignore_ascii_case(name)
                });
                self.fields = fields;
                before - self.fields.len()
            }
            known => self.remove(known),
        }
    }

    /// Removes every field of which this holds, by what is known of its name and the name as received.
    pub(crate) fn remove_where(&mut self, mut holds: impl FnMut(Known, &[u8]) -> bool) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|field| !holds(field.known, self.name(field)));
        self.fields = fields;
    }

    /// Removes the fields that `Connection` names, as [`Fields::strip_hop_by_hop`] will: for whoever
    /// looks at a section before that and must see what a recipient will.
    pub(crate) fn strip_named(&mut self) {
        // What nearly every list is names no field.
        let is_usual = |list: &[u8]| matches!(list, b"keep-alive" | b"close" | b"Keep-Alive");
        if self.all(Known::Connection).all(is_usual) {
            return;
        }
        for option in self.connection_options() {
            self.remove_named(&option);
        }
    }

    /// Adds a field at the end. A name that is no token is left out, and a byte that may not stand
    /// in a value becomes a space (RFC 9110 §5.5): whatever is appended, one line is written.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        match Known::of(name) {
            Known::Other if !chars::is_token(name) => {}
            known => self.push(known, name, value),
        }
    }

    /// [`Fields::append`] under a known name. [`Known::Other`] adds nothing.
    pub fn append_known(&mut self, name: Known, value: &[u8]) {
        if name != Known::Other {
            self.push(name, name.name().as_bytes(), value);
        }
    }

    /// Makes this the only field of its name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove_named(name);
        self.append(name, value);
    }

    /// [`Fields::set`] under a known name.
    pub fn set_known(&mut self, name: Known, value: &[u8]) {
        self.remove(name);
        self.append_known(name, value);
    }

    /// Writes every field as a line of HTTP/1 (RFC 9112 §5), without the empty line that ends the
    /// section.
    pub fn write_http1(&self, out: &mut Vec<u8>) {
        let (mut source, mut run) = (Source::Raw, Span::default());
        for field in &self.fields {
            let line = field.line();
            if field.plain && field.source == source && line.start == run.end {
                run.end = line.end;
                continue;
            }
            out.extend_from_slice(run.of(self.bytes(source)));
            (source, run) = (field.source, line);
            if !field.plain {
                put_line(out, self.name(field), self.value(field));
                run = Span { start: line.end, end: line.end };
            }
        }
        out.extend_from_slice(run.of(self.bytes(source)));
    }

    /// Removes what concerns one connection only: the fields that [`Known::is_hop_by_hop`], and
    /// those that `Connection` names (RFC 9110 §7.6.1).
    ///
    /// `Connection` takes away unknown fields only. A field that the gateway knows as end-to-end
    /// (`Host`, `Content-Length`, `Authorization`, `Cookie`, `X-Forwarded-For`, `Traceparent`, …)
    /// stays whatever a sender lists: those that frame the message or decide who is let in must
    /// not be the sender's to remove behind the check.
    pub fn strip_hop_by_hop(&mut self) -> Stripped {
        if self.present & HOP_BY_HOP == 0 {
            return Stripped::default();
        }
        let te_trailers = self.all(Known::Te).flat_map(chars::list).any(|coding| {
            let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
            chars::trim(name).eq_ignore_ascii_case(b"trailers")
        });
        self.strip_named();
        self.present &= !HOP_BY_HOP;
        self.fields.retain(|field| !field.known.is_hop_by_hop());
        Stripped { te_trailers }
    }

    /// The fields as a map for HTTP/2, names in lower case, without those of one name
    /// ([`Known::Other`] leaves none out). Connection-specific fields must have been stripped, and
    /// `Host` be left out or moved to `:authority`, by the caller.
    ///
    /// # Errors
    /// When there are more fields than a map can hold, or a value that HTTP/2 does not allow.
    pub fn to_header_map(&self, left_out: Known) -> Result<HeaderMap, http::Error> {
        let mut map = HeaderMap::try_with_capacity(self.fields.len())?;
        // One copy, which the values share.
        let extra = Bytes::copy_from_slice(&self.extra);
        let named = |field: &&Field| left_out == Known::Other || field.known != left_out;
        for field in self.fields.iter().filter(named) {
            let part = self.part(field);
            let name = match (field.known.header_name(), part) {
                (Some(name), _) => name,
                (None, Some((name, _))) => name.clone(),
                (None, None) => HeaderName::from_bytes(self.name(field))?,
            };
            let mut value = match (field.source, part) {
                (_, Some((_, value))) => value.clone(),
                (Source::Raw, None) => shared(&self.raw, field.value)?,
                (_, None) => shared(&extra, field.value)?,
            };
            if field.known.differs_in_each_call() {
                value.set_sensitive(true);
            }
            map.try_append(name, value)?;
        }
        Ok(map)
    }

    /// The fields of a map that came over HTTP/2. Cookies that were split for compression become
    /// one field again (RFC 9113 §8.2.3), and white space around values is dropped.
    #[must_use]
    pub fn from_header_map(map: HeaderMap) -> Self {
        let mut fields = Self::new();
        fields.parts.reserve_exact(map.len());
        fields.fields.reserve_exact(map.len().max(FIRST_FIELDS));
        let mut cookies = Vec::new();
        let mut known = Known::Other;
        for (name, value) in map {
            if let Some(name) = &name {
                known = Known::of(name.as_str().as_bytes());
            }
            if known == Known::Cookie {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(chars::trim(value.as_bytes()));
            } else if let Some(name) = name.or_else(|| fields.last_name()) {
                // A further value comes without its name, which is that of the one before.
                fields.push_part(known, name, value);
            }
        }
        if !cookies.is_empty() {
            fields.append_known(Known::Cookie, &cookies);
        }
        fields
    }

    /// The names that `Connection` lists and may take away, copied out of the section.
    fn connection_options(&self) -> SmallVec<[SmallVec<[u8; 24]>; 4]> {
        self.all(Known::Connection)
            .flat_map(chars::list)
            .filter(|option| {
                // The two options that are no field names, and by far the most common ones.
                Known::of(option) == Known::Other && !option.eq_ignore_ascii_case(b"close")
            })
            .map(SmallVec::from_slice)
            .collect()
    }

    fn push(&mut self, known: Known, name: &[u8], value: &[u8]) {
        if self.extra.capacity() == 0 {
            self.extra.reserve(FIRST_EXTRA);
        }
        let start = self.extra.len();
        put_line(&mut self.extra, name, value);
        let name = Span::new(start, start + name.len());
        let value = Span::new(self.extra.len() - 2 - value.len(), self.extra.len() - 2);
        self.present |= known.bit();
        self.index(Field { name, value, known, source: Source::Extra, plain: true });
    }

    fn push_part(&mut self, known: Known, name: HeaderName, value: HeaderValue) {
        let trimmed = chars::trim(value.as_bytes());
        if trimmed.len() != value.len() {
            return self.push(known, name.as_str().as_bytes(), trimmed);
        }
        let place = Span::new(self.parts.len(), self.parts.len());
        self.parts.push((name, value));
        self.present |= known.bit();
        self.index(Field { name: place, value: place, known, source: Source::Part, plain: false });
    }

    fn last_name(&self) -> Option<HeaderName> {
        let field = self.fields.last()?;
        match self.part(field) {
            Some((name, _)) => Some(name.clone()),
            None => HeaderName::from_bytes(self.name(field)).ok(),
        }
    }

    fn index(&mut self, field: Field) {
        if self.fields.capacity() == 0 {
            self.fields.reserve_exact(FIRST_FIELDS);
        }
        self.fields.push(field);
    }

    /// The received bytes, start line included.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    fn may_hold(&self, name: Known) -> bool {
        name != Known::Other && self.present & name.bit() != 0
    }

    fn name(&self, field: &Field) -> &[u8] {
        match self.part(field) {
            Some((name, _)) => name.as_str().as_bytes(),
            None => field.name.of(self.bytes(field.source)),
        }
    }

    fn value(&self, field: &Field) -> &[u8] {
        match self.part(field) {
            Some((_, value)) => value.as_bytes(),
            None => field.value.of(self.bytes(field.source)),
        }
    }

    fn part(&self, field: &Field) -> Option<&(HeaderName, HeaderValue)> {
        match field.source {
            Source::Part => self.parts.get(field.name.start as usize),
            Source::Raw | Source::Extra => None,
        }
    }

    /// The buffer of a source; parts are in none.
    fn bytes(&self, source: Source) -> &[u8] {
        match source {
            Source::Raw => &self.raw,
            Source::Extra => &self.extra,
            Source::Part => &[],
        }
    }
}

impl Field {
    /// The whole line with its line end; meaningful for a plain one.
    const fn line(&self) -> Span {
        Span { start: self.name.start, end: self.value.end.saturating_add(2) }
    }
}

impl Span {
    /// A place. Sections are limited far below 4 GiB, so that 32 bits hold every place.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let at = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Self { start: at(start), end: at(end) }
    }

    pub(crate) const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }
}

/// A value in bytes that others share.
fn shared(bytes: &Bytes, place: Span) -> Result<HeaderValue, http::Error> {
    Ok(HeaderValue::from_maybe_shared(bytes.slice(place.range()))?)
}

/// Writes `name: value` and the line end; a byte that no value may hold becomes a space.
fn put_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    if chars::is_value(value) {
        out.put_slice(value);
    } else {
        out.extend(value.iter().map(|byte| if chars::is_value_byte(*byte) { *byte } else { b' ' }));
    }
    out.put_slice(b"\r\n");
}
