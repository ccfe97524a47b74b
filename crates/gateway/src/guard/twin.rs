//! Paths that others would read differently. Routing compares a path as it was sent, but a service may
//! be less exact: it may take an escaped slash for a slash, two slashes for one, `/Admin` for `/admin`, or
//! drop what follows a `;`. A call whose path would come under another guard if it were read so is refused:
//! neither reading may lead around the guard of the other.

use smallvec::SmallVec;

/// The path as the most generous of services would read it, if that differs.
pub(crate) fn other_reading(path: &str) -> Option<SmallVec<[u8; 128]>> {
    let bytes = path.as_bytes();
    if is_plain(bytes) {
        return None;
    }
    let mut read: SmallVec<[u8; 128]> = SmallVec::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut in_parameters = false;
    while let Some((byte, after)) = next(rest) {
        rest = after;
        match byte {
            b'/' | b'\\' => {
                in_parameters = false;
                if read.last() != Some(&b'/') {
                    read.push(b'/');
                }
            }
            b';' => in_parameters = true,
            _ if in_parameters => {}
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                read.push(byte.to_ascii_lowercase());
            }
            byte => escape(byte, &mut read),
        }
    }
    if read.len() > 1 && read.last() == Some(&b'/') {
        read.pop();
    }
    (&read[..] != bytes).then_some(read)
}

/// Whether there is one way only to read a path: the usual case, told apart without copying.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for byte in path {
        let is_doubled = *byte == b'/' && before == b'/';
        if is_doubled || byte.is_ascii_uppercase() || matches!(byte, b'%' | b';' | b'\\') {
            return false;
        }
        before = *byte;
    }
    before != b'/' || path.len() == 1
}

/// The first byte, unescaped, and what follows it. Escapes were checked when the target was read.
fn next(path: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match path {
        [] => None,
        [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Some((high << 4 | low, rest)),
            _ => Some((b'%', &path[1..])),
        },
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

/// Other bytes stay as they are, or escaped in one way.
fn escape(byte: u8, read: &mut SmallVec<[u8; 128]>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
    ) {
        read.push(byte);
    } else {
        let digit = |half: u8| DIGITS[usize::from(half & 15)];
        read.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte)]);
    }
}
