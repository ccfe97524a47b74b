//! Which bytes may stand where, as tables of 256 flags. Sources: RFC 9110 §5.5, §5.6.2; RFC 3986.

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const PATH: u8 = 4;
const QUERY: u8 = 8;
const HOST: u8 = 16;

const CLASSES: [u8; 256] = build();

/// `tchar`: field names, methods, connection options (RFC 9110 §5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// A whole non-empty token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// `field-vchar`, space and tab (RFC 9110 §5.5).
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    are_plain(bytes) || all(bytes, VALUE)
}

/// No control bytes and no space: what may stand in a request line, beyond ASCII too.
pub(crate) fn is_visible(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// One byte of [`is_value`].
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & VALUE != 0
}

/// Bytes of a path, percent signs included. Wider than RFC 3986's `pchar` by what clients send
/// unescaped in practice (`"`, `[`, `]`, `^`, `{`, `|`, `}`), and never a backslash.
pub(crate) fn is_path(bytes: &[u8]) -> bool {
    all(bytes, PATH)
}

/// Bytes of a query: opaque to a gateway, so visible ASCII without `"`, `#`, `<` and `>`.
pub(crate) fn is_query(bytes: &[u8]) -> bool {
    all(bytes, QUERY)
}

/// Bytes of a host name: letters, digits, `-`, `.` and `_`. Narrower than RFC 3986's `reg-name`,
/// whose commas, semicolons and escapes name no host in DNS but confuse what reads a list.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    all(bytes, HOST)
}

/// Without the spaces and tabs at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed, without the empty ones (RFC 9110 §5.6.1).
pub(crate) fn list(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Whether there is no control byte, and among eight and more no tab: eight bytes at a time.
fn are_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // A byte's high bit is set in the first where it is below a space, in the second where it is DEL,
    // and perhaps in bytes above such a one: enough to know that there is one.
    let odd = |word: u64| {
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        (below_space | (delete.wrapping_sub(ONES) & !delete)) & HIGH
    };
    // The last eight may have been among those before.
    let Some(last) = bytes.last_chunk::<8>() else { return all(bytes, VALUE) };
    let (words, _) = bytes.as_chunks::<8>();
    let seen = words.iter().fold(0, |seen, word| seen | odd(u64::from_le_bytes(*word)));
    seen | odd(u64::from_le_bytes(*last)) == 0
}

fn all(bytes: &[u8], class: u8) -> bool {
    // No early exit: the loop has no branch, and what is refused may cost as much as what is not.
    bytes.iter().fold(class, |seen, byte| seen & CLASSES[*byte as usize]) != 0
}

#[expect(clippy::cast_possible_truncation, reason = "the index stays below 256")]
const fn build() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() || is_one_of(byte, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            class |= VALUE;
        }
        if byte.is_ascii_graphic() && !is_one_of(byte, b"#<>?\\`") {
            class |= PATH;
        }
        if byte.is_ascii_graphic() && !is_one_of(byte, b"\"#<>") {
            class |= QUERY;
        }
        if byte.is_ascii_alphanumeric() || is_one_of(byte, b"-._") {
            class |= HOST;
        }
        classes[index] = class;
        index += 1;
    }
    classes
}

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_by_words_as_by_bytes() {
        for len in 0..20 {
            for place in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'~'; len];
                    bytes[place] = byte;
                    assert_eq!(is_value(&bytes), all(&bytes, VALUE), "{byte} in {len} bytes");
                    let mut high = vec![0xff; len];
                    high[place] = byte;
                    assert_eq!(is_value(&high), all(&high, VALUE), "{byte} in {len} high bytes");
                }
            }
        }
    }
}
