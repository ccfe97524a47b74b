//! W3C trace context: the ids by which a call, its message, its saga step and its event are one
//! story. Source: W3C Trace Context Level 2, §3.2.

use std::fmt;
use std::ops::Range;

/// The length of a `traceparent` of version 00 in bytes.
pub const TRACEPARENT_LEN: usize = 55;
/// Where in a `traceparent` the id of the trace stands.
pub const TRACE_ID: Range<usize> = 3..35;

/// Where a piece of work stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The whole story's id; never zero.
    pub trace_id: u128,
    /// The id of the span that is the parent of what comes next; never zero.
    pub span_id: u64,
    /// Whether the one who began the trace asked for it to be kept.
    pub sampled: bool,
}

impl TraceContext {
    /// Begins a trace with random ids.
    #[must_use]
    pub fn begin(sampled: bool) -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), sampled }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), ..self }
    }

    /// Reads a `traceparent` header value. `None` when it is malformed: a new trace begins then.
    /// A version above 00 is read by the fields that it shares with 00 (§3.2.1).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let well_formed = value.len() >= TRACEPARENT_LEN
            && value[2] == b'-'
            && value[35] == b'-'
            && value[52] == b'-'
            && (value.len() == TRACEPARENT_LEN
                || (&value[..2] != b"00" && value[TRACEPARENT_LEN] == b'-'));
        if !well_formed {
            return None;
        }
        let version = lower_hex(&value[..2])?;
        let trace_id = lower_hex(&value[3..35])?;
        let span_id = u64::try_from(lower_hex(&value[36..52])?).ok()?;
        let flags = lower_hex(&value[53..55])?;
        (version != 0xff && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// Writes the `traceparent` header value of version 00.
    #[must_use]
    pub fn to_traceparent(self) -> [u8; TRACEPARENT_LEN] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut out[TRACE_ID], self.trace_id);
        write_hex(&mut out[36..52], u128::from(self.span_id));
        out[54] = if self.sampled { b'1' } else { b'0' };
        out
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_traceparent()))
    }
}

fn lower_hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Fills `out`, of at most 32 bytes and an even number of them, with the low hexadecimal digits of
/// `value`, most significant first.
pub fn write_hex(out: &mut [u8], value: u128) {
    let mut digits = [0; 32];
    let bytes = value.to_be_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    let (places, _) = digits.as_chunks_mut::<8>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = hex_digits(u32::from_be_bytes(*word));
    }
    let from = digits.len().saturating_sub(out.len());
    out.copy_from_slice(&digits[from..]);
}

/// The eight digits of a word, all of them at once.
fn hex_digits(word: u32) -> [u8; 8] {
    // Each half byte in a byte of its own.
    let mut spread = u64::from(word);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in every byte of 10 and more, whose digits are letters.
    let letters = ((spread + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_and_writes_the_specification_s_example() {
        let context = TraceContext::parse(EXAMPLE).expect("the example is valid");
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert!(context.sampled);
        assert_eq!(&context.to_traceparent()[..], EXAMPLE);
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        let replaced =
            |from: &str, to: &str| String::from_utf8_lossy(EXAMPLE).replace(from, to).into_bytes();
        for bad in [
            replaced("00-4b", "ff-4b"),
            replaced("4bf92f", "4BF92F"),
            replaced("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            replaced("00f067aa0ba902b7", &"0".repeat(16)),
            replaced("-01", "-01-extra"),
            EXAMPLE[..54].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(TraceContext::parse(&bad), None, "{}", String::from_utf8_lossy(&bad));
        }
        assert!(TraceContext::parse(&replaced("00-4b", "01-4b")).is_some());
    }

    #[test]
    fn what_is_begun_can_be_read() {
        let begun = TraceContext::begin(true);
        assert_eq!(TraceContext::parse(&begun.to_traceparent()), Some(begun));
        assert_eq!(begun.child().trace_id, begun.trace_id);
    }
}
