//! Chunked bodies and trailers that are refused.

use crate::requests1::{BAD, LARGE_OR_BAD, Row};

/// What follows the header of a chunked `POST`.
pub(crate) const BODIES: &[Row] = &[
    ("9112 §7.1", "size of other letters", BAD, b"xyz\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "no size", BAD, b"\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "negative size", BAD, b"-5\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "minus zero", BAD, b"-0\r\n\r\n"),
    ("9112 §7.1", "size with a plus sign", BAD, b"+5\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "size with 0x", BAD, b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "size with an underscore", BAD, b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "space before the size", BAD, b" 5\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "space after the size", BAD, b"5 \r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "tab after the size", BAD, b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "two sizes", BAD, b"5 5\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "size of 2^64 and 5", BAD, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    (
        "9112 §7.1",
        "size of 2^32 in 2^64 and 5",
        BAD,
        b"1000000000000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    ("9112 §7.1", "NUL in the size", BAD, b"5\0\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "size ends with a bare LF", BAD, b"5\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "size ends with a bare CR", BAD, b"5\rhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "size ends with CR CR LF", BAD, b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "data longer than its size", BAD, b"5\r\nhello!\r\n0\r\n\r\n"),
    ("9112 §7.1", "data shorter than its size", BAD, b"6\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1", "no line end after the data", BAD, b"5\r\nhello0\r\n\r\n"),
    ("9112 §7.1", "bare LF after the data", BAD, b"5\r\nhello\n0\r\n\r\n"),
    ("9112 §7.1", "bare CR after the data", BAD, b"5\r\nhello\r0\r\n\r\n"),
    ("9112 §7.1", "two other bytes after the data", BAD, b"5\r\nhelloXX0\r\n\r\n"),
    ("9112 §7.1", "space after the data", BAD, b"5\r\nhello \r\n0\r\n\r\n"),
    ("9112 §7.1", "last size ends with a bare LF", BAD, b"0\n\r\n"),
    ("9112 §7.1", "last line ends with a bare LF", BAD, b"0\r\n\n"),
    ("9112 §7.1.1", "bare LF in an extension", BAD, b"5;a\nhello\r\n0\r\n\r\n"),
    (
        "9112 §7.1.1",
        "size line inside an extension (TERM.EXT)",
        BAD,
        b"2;\nxx\r\n2d\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    ("9112 §7.1.1", "bare CR in an extension", BAD, b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1.1", "NUL in an extension", BAD, b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1.1", "extension without a semicolon", BAD, b"5 a=b\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1.1", "extension without a name", BAD, b"5;=b\r\nhello\r\n0\r\n\r\n"),
    ("9112 §7.1.1", "open quotes in an extension", BAD, b"5;a=\"b\r\nhello\r\n0\r\n\r\n"),
    (
        "9112 §7.1.1",
        "line end in the quotes of an extension",
        BAD,
        b"5;a=\"\r\nhello\"\r\n0\r\n\r\n",
    ),
    ("9112 §7.1.2", "trailer without a colon", BAD, b"0\r\nX-A\r\n\r\n"),
    ("9112 §7.1.2", "trailer without a name", BAD, b"0\r\n: b\r\n\r\n"),
    ("9112 §7.1.2", "space before the colon of a trailer", BAD, b"0\r\nX-A : b\r\n\r\n"),
    ("9112 §7.1.2", "folded trailer", BAD, b"0\r\nX-A: b\r\n c\r\n\r\n"),
    ("9112 §7.1.2", "space before the first trailer", BAD, b"0\r\n X-A: b\r\n\r\n"),
    ("9112 §7.1.2", "trailer ends with a bare LF", BAD, b"0\r\nX-A: b\n\r\n"),
    ("9112 §7.1.2", "bare CR in a trailer", BAD, b"0\r\nX-A: b\rc\r\n\r\n"),
    ("9112 §7.1.2", "NUL in a trailer", BAD, b"0\r\nX-A: b\0\r\n\r\n"),
    (
        "9112 §7.1.2",
        "a request where trailers are",
        BAD,
        b"0\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
];

/// A row whose body is made of a start, a part that repeats, and how often.
type LongRow = (&'static str, &'static str, &'static [u16], &'static [u8], &'static [u8], usize);

/// What follows the header of a chunked `POST`, too long to write down.
pub(crate) const LONG_BODIES: &[LongRow] = &[
    ("9112 §7.1.1", "extension of 256 KiB", LARGE_OR_BAD, b"5;a=", b"bbbbbbbb", 32 * 1024),
    ("9112 §7.1", "size of 256 Ki zeros", LARGE_OR_BAD, b"", b"00000000", 32 * 1024),
    ("9112 §7.1.2", "trailers of 256 KiB", LARGE_OR_BAD, b"0\r\n", b"X-A: b\r\n", 32 * 1024),
    ("9112 §7.1.2", "trailer of 256 KiB", LARGE_OR_BAD, b"0\r\nX-A: ", b"bbbbbbbb", 32 * 1024),
];
