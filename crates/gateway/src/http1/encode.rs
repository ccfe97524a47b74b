//! Chunks as they are written. A relayed body is always framed anew: what a sender put around its
//! data (extensions, sizes with leading zeros) ends here.

use crate::http::head::Fields;

/// Writes the line before a chunk of `len` bytes; the data and CR LF follow it. A chunk of no bytes
/// would end the body, so `len` is at least 1; nothing is written for 0.
pub fn encode_chunk_head(len: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if len == 0 {
        return;
    }
    let mut digits = [0; 16];
    let mut start = digits.len();
    let mut rest = len;
    while rest > 0 && start > 0 {
        start -= 1;
        digits[start] = DIGITS[rest % 16];
        rest /= 16;
    }
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk, the trailers if there are any, and the end of the body.
pub fn encode_last_chunk(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_http1(out);
    }
    out.extend_from_slice(b"\r\n");
}
