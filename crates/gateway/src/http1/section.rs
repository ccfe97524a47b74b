//! The rules that header sections of requests, responses and trailers share: the shape of each
//! line, checked on the raw bytes, and what the fields say about the message's framing.

use httparse::Header;
use smallvec::SmallVec;

use super::{Framing, Refusal, Version};
use crate::http::chars;
use crate::http::head::{Fields, Span};
use crate::http::known::Known;

/// What the fields say about the message and its connection.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The place of the value of the only `Host`.
    pub(super) host: Option<(usize, usize)>,
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    /// `Expect` was there: whether it was `100-continue`, once.
    pub(super) expect_continue: Option<bool>,
    /// `Upgrade` was there: whether it names only protocols that may be forwarded.
    upgrade: Option<bool>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
}

/// Checks every line of a section that ends `head` and begins at `start`, shows each field to `see`
/// and notes what it keeps in `fields`. `head` ends with the empty line; `headers` lie within it.
#[inline]
pub(super) fn read_lines(
    head: &[u8],
    mut start: usize,
    headers: &[Header<'_>],
    fields: &mut Fields,
    mut see: impl FnMut(Known, &[u8], (usize, usize)) -> Result<Keep, Refusal>,
) -> Result<(), Refusal> {
    let section_end = head.len().saturating_sub(2);
    if head.get(section_end..) != Some(b"\r\n") {
        return Err(Refusal::bad("bare-line-feed"));
    }
    let mut following = headers.iter().skip(1);
    for header in headers {
        let end = following.next().map_or(section_end, |next| place(head, next.name.as_bytes()));
        let line = head.get(start..end).unwrap_or_default();
        let (value_start, plain) = check_line(line, header)?;
        let known = recognise(header.name.as_bytes())?;
        let value_start = start + value_start;
        let value = (value_start, value_start + header.value.len());
        if see(known, header.value, value)? == Keep::Yes {
            let name = Span::new(start, start + header.name.len());
            fields.note(known, name, Span::new(value.0, value.1), plain);
        }
        start = end;
    }
    // Without a field the section is the empty line alone.
    if start == section_end { Ok(()) } else { Err(Refusal::bad("line-end")) }
}

/// Which name this is. A name with an underscore that would be one of those that frame a message
/// or say where it comes from, were it a hyphen, is refused: CGI and its heirs read both as one.
pub(super) fn recognise(name: &[u8]) -> Result<Known, Refusal> {
    let known = Known::of(name);
    if known != Known::Other || memchr::memchr(b'_', name).is_none() {
        return Ok(known);
    }
    let hyphens = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    let meant: SmallVec<[u8; 32]> = name.iter().map(hyphens).collect();
    if Known::of(&meant).is_trusted() {
        Err(Refusal::bad("disguised-name"))
    } else {
        Ok(Known::Other)
    }
}

/// Whether a field becomes part of the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// Checks that a line is a name, a colon, white space, the value, white space and CR LF, and
/// nothing else (RFC 9112 §5). Returns where the value begins, and whether the line is exactly
/// `name: value`.
#[inline]
fn check_line(line: &[u8], header: &Header<'_>) -> Result<(usize, bool), Refusal> {
    let [text @ .., b'\r', b'\n'] = line else {
        return Err(Refusal::bad("bare-line-feed"));
    };
    let name_len = header.name.len();
    let value_start = place(line, header.value);
    let is_plain = place(line, header.name.as_bytes()) == 0
        && value_start == name_len + 2
        && text.len() == value_start + header.value.len()
        && text[name_len..value_start] == *b": ";
    if is_plain { Ok((value_start, true)) } else { check_odd_line(text, line, header) }
}

#[cold]
fn check_odd_line(text: &[u8], line: &[u8], header: &Header<'_>) -> Result<(usize, bool), Refusal> {
    let name_len = header.name.len();
    // Where an empty value stands in the white space around it is nowhere in particular.
    let value_start =
        if header.value.is_empty() { name_len + 1 } else { place(line, header.value) };
    let before = text.get(name_len..value_start);
    let after = text.get(value_start.wrapping_add(header.value.len())..);
    let well_formed = place(line, header.name.as_bytes()) == 0
        && matches!(before, Some([b':', space @ ..]) if is_white(space))
        && after.is_some_and(is_white);
    if well_formed { Ok((value_start, false)) } else { Err(Refusal::bad("field-line")) }
}

/// Where a part of `whole` begins within it. The result of a slice from elsewhere fails every
/// check that follows, because all of them compare bounded slices of `whole`.
pub(super) fn place(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

impl Facts {
    /// What a section of HTTP/2 says, under the same rules.
    pub(super) fn of(fields: &Fields) -> Result<Self, Refusal> {
        let mut facts = Self::default();
        for (_, name, value) in fields.iter() {
            facts.note(recognise(name)?, value, (0, value.len()))?;
        }
        Ok(facts)
    }

    /// Notes a field. Fields that frame or route the message may be there once only.
    #[inline]
    pub(super) fn note(
        &mut self,
        name: Known,
        value: &[u8],
        place: (usize, usize),
    ) -> Result<(), Refusal> {
        if name.is_trusted() { self.note_trusted(name, value, place) } else { Ok(()) }
    }

    fn note_trusted(
        &mut self,
        name: Known,
        value: &[u8],
        place: (usize, usize),
    ) -> Result<(), Refusal> {
        match name {
            Known::Host => match self.host.replace(place) {
                None => Ok(()),
                Some(_) => Err(Refusal::bad("host-doubled")),
            },
            Known::ContentLength => match self.content_length.replace(parse_length(value)?) {
                None => Ok(()),
                Some(_) => Err(Refusal::bad("content-length-doubled")),
            },
            Known::TransferEncoding => self.note_transfer_encoding(value),
            Known::Connection => self.note_connection(value),
            Known::Upgrade => match self.upgrade.replace(check_upgrade(value)?) {
                None => Ok(()),
                Some(_) => Err(Refusal::bad("upgrade-doubled")),
            },
            Known::Expect => {
                let only = self.expect_continue.is_none();
                let known = only && value.eq_ignore_ascii_case(b"100-continue");
                self.expect_continue = Some(known);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The framing that the fields declare, if they do (RFC 9112 §6.3): at most one of the two
    /// fields, and no chunks in HTTP/1.0, whose recipients may not know them (§6.1).
    pub(super) fn framing(&self, version: Version) -> Result<Option<Framing>, Refusal> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(Refusal::bad("length-and-chunked")),
            (true, None) if version == Version::Http10 => Err(Refusal::bad("chunked-in-http-1.0")),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, Some(length)) => Ok(Some(Framing::Length(length))),
            (false, None) => Ok(None),
        }
    }

    /// Whether another message may follow on the connection (RFC 9112 §9.3). `close` wins.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Whether both `Upgrade` and `Connection: upgrade` are there, in a version that has them
    /// (RFC 9110 §7.8), for protocols that a gateway may hand on.
    pub(super) fn upgrade(&self, version: Version) -> bool {
        version == Version::Http11 && self.connection_upgrade && self.upgrade == Some(true)
    }

    /// `chunked`, once, in any case, and nothing beside it.
    fn note_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if value.eq_ignore_ascii_case(b"chunked") && !self.chunked {
            self.chunked = true;
            return Ok(());
        }
        let chunks = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let is_honest = !self.chunked
            && chars::list(value).all(chars::is_token)
            && chars::list(value).filter(chunks).count() == 1
            && chars::list(value).last().is_some_and(|last| chunks(&last));
        Err(if is_honest { Refusal::CODING } else { Refusal::bad("transfer-encoding") })
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // Nearly always the field is this or absent.
        if value == b"keep-alive" {
            self.keep_alive = true;
            return Ok(());
        }
        for option in chars::list(value) {
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.connection_upgrade = true,
                _ if chars::is_token(option) => {}
                _ => return Err(Refusal::bad("connection")),
            }
        }
        Ok(())
    }
}

/// A decimal number without sign, space or list, below 2^63 so that no recipient overflows.
fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    const LONGEST: usize = 19;
    const INVALID: Refusal = Refusal::bad("content-length");
    if value.is_empty() || value.len() > LONGEST {
        return Err(INVALID);
    }
    let mut length = 0_u64;
    for digit in value {
        if !digit.is_ascii_digit() {
            return Err(INVALID);
        }
        // 19 digits stay below 2^64.
        length = length * 10 + u64::from(digit - b'0');
    }
    if length > i64::MAX.unsigned_abs() { Err(INVALID) } else { Ok(length) }
}

/// A list of protocols (RFC 9110 §7.8). False when `h2c` is among them: an upstream that took it
/// would speak HTTP/2 past the gateway's rules.
fn check_upgrade(value: &[u8]) -> Result<bool, Refusal> {
    let mut may_forward = false;
    for protocol in chars::list(value) {
        if !protocol.splitn(2, |byte| *byte == b'/').all(chars::is_token) {
            return Err(Refusal::bad("upgrade"));
        }
        if protocol.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"h2c")) {
            return Ok(false);
        }
        may_forward = true;
    }
    Ok(may_forward)
}

fn is_white(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}
