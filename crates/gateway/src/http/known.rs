//! The field names that a gateway acts upon, as one byte each.
//!
//! A name is looked up once, when its line is parsed; everything after that compares bytes of one
//! kind. The lookup reads a name as three words, hashes two of them into a table that is built, and
//! checked to have no collision, when the crate is compiled, and compares words, not bytes.

use http::HeaderName;

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A field name that the gateway knows, or [`Known::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known {
            /// A name that the gateway gives no meaning to.
            Other,
            $(#[doc = concat!("`", $name, "`")] $variant),+
        }

        const NAMES: [&str; COUNT] = ["", $($name),+];
        const ALL: [Known; COUNT] = [Known::Other, $(Known::$variant),+];
        const COUNT: usize = 1 + [$($name),+].len();

        static HEADER_NAMES: [HeaderName; COUNT - 1] = [$(HeaderName::from_static($name)),+];
    };
}

known! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    Http2Settings = "http2-settings",
    Expect = "expect",
    Forwarded = "forwarded",
    Via = "via",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Authorization = "authorization",
    WwwAuthenticate = "www-authenticate",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Date = "date",
    Server = "server",
    Location = "location",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
    CacheControl = "cache-control",
    Etag = "etag",
    LastModified = "last-modified",
    Vary = "vary",
    Age = "age",
    Range = "range",
    RetryAfter = "retry-after",
    RateLimit = "ratelimit",
    RateLimitPolicy = "ratelimit-policy",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Origin = "origin",
    Referer = "referer",
    UserAgent = "user-agent",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    MaxForwards = "max-forwards",
    GrpcTimeout = "grpc-timeout",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcEncoding = "grpc-encoding",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketAccept = "sec-websocket-accept",
    SecWebsocketVersion = "sec-websocket-version",
    SecWebsocketProtocol = "sec-websocket-protocol",
    SecWebsocketExtensions = "sec-websocket-extensions",
}

impl Known {
    /// Which known name this is, in any case; [`Known::Other`] when it is none.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        if !(SHORTEST..=LONGEST).contains(&name.len()) {
            return Self::Other;
        }
        let words = words(name);
        let known = TABLE[slot(words)];
        let shape = &SHAPES[known as usize];
        let same = (words[0] | shape.letters[0]) == shape.words[0]
            && (words[1] | shape.letters[1]) == shape.words[1]
            && (words[2] | shape.letters[2]) == shape.words[2]
            && name.len() == shape.len;
        if same { known } else { Self::Other }
    }

    /// The name in lower case; empty for [`Known::Other`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Whether the field concerns one connection only and is never forwarded (RFC 9110 §7.6.1),
    /// with what older software made of it. `Trailer` is not: trailers are forwarded.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        HOP_BY_HOP & self.bit() != 0
    }

    /// Whether recipients act upon the field when they frame or route a message, or decide whom to
    /// believe about where it comes from.
    pub(crate) const fn is_trusted(self) -> bool {
        TRUSTED & self.bit() != 0
    }

    /// Whether the value is another in each call, so that it would only push others out of the
    /// table that HPACK keeps of a connection (RFC 7541 §2.3.2).
    pub(crate) const fn differs_in_each_call(self) -> bool {
        matches!(self, Self::Traceparent | Self::XRequestId | Self::GrpcTimeout)
    }

    /// One bit of 64, so that a set of names is one word.
    pub(crate) const fn bit(self) -> u64 {
        1 << (self as u8)
    }

    pub(crate) fn header_name(self) -> Option<HeaderName> {
        (self as usize).checked_sub(1).map(|index| HEADER_NAMES[index].clone())
    }
}

/// The set of the names that [`Known::is_hop_by_hop`].
pub(crate) const HOP_BY_HOP: u64 = Known::Connection.bit()
    | Known::TransferEncoding.bit()
    | Known::Te.bit()
    | Known::Upgrade.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::ProxyAuthenticate.bit()
    | Known::ProxyAuthorization.bit()
    | Known::Http2Settings.bit();

const TRUSTED: u64 = HOP_BY_HOP
    | Known::Host.bit()
    | Known::ContentLength.bit()
    | Known::Expect.bit()
    | Known::Forwarded.bit()
    | Known::XForwardedFor.bit()
    | Known::XForwardedProto.bit()
    | Known::XForwardedHost.bit()
    | Known::XForwardedPort.bit()
    | Known::XRealIp.bit()
    | Known::Authorization.bit();

const SHORTEST: usize = 2;
const LONGEST: usize = 24;
const SLOTS: usize = 256;
static TABLE: [Known; SLOTS] = build_table();
static SHAPES: [Shape; COUNT] = build_shapes();

/// A known name, ready to be compared with a received one of the same length.
#[derive(Clone, Copy)]
struct Shape {
    words: [u64; 3],
    /// 0x20 under every letter: what makes a capital small, and no other byte anything else.
    letters: [u64; 3],
    len: usize,
}

/// A name of `SHORTEST..=LONGEST` bytes as words that cover all of it, overlapping where they must.
const fn words(name: &[u8]) -> [u64; 3] {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        // The eight bytes after the first eight, of which a shorter name has none of its own.
        let middle = match name.split_at(8).1.first_chunk::<8>() {
            Some(middle) => u64::from_le_bytes(*middle),
            None => last,
        };
        [first, middle, last]
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64);
        [first, last, last]
    } else if let (Some(first), Some(last)) = (name.first_chunk::<2>(), name.last_chunk::<2>()) {
        let (first, last) = (u16::from_le_bytes(*first) as u64, u16::from_le_bytes(*last) as u64);
        [first, last, last]
    } else {
        [0; 3]
    }
}

// The multipliers were found by search; `build_table` proves them free of collisions.
const fn slot(words: [u64; 3]) -> usize {
    const SMALL: u64 = 0x2020_2020_2020_2020;
    let first = (words[0] | SMALL).wrapping_mul(0x0a2a_5735_b824_d975);
    let last = (words[2] | SMALL).wrapping_mul(0xb3af_fb69_9a42_6d87);
    first.wrapping_add(last).to_be_bytes()[0] as usize
}

const fn build_table() -> [Known; SLOTS] {
    const { assert!(COUNT <= 64, "a set of names is one 64-bit word") };
    let mut table = [Known::Other; SLOTS];
    let mut index = 1;
    while index < COUNT {
        let name = NAMES[index].as_bytes();
        assert!(name.len() >= SHORTEST && name.len() <= LONGEST, "the length is out of bounds");
        let slot = slot(words(name));
        assert!(table[slot] as u8 == Known::Other as u8, "two names share a slot");
        table[slot] = ALL[index];
        index += 1;
    }
    table
}

const fn build_shapes() -> [Shape; COUNT] {
    // Length 0 is that of no name that is looked up, so nothing equals the shape of `Other`.
    let mut shapes = [Shape { words: [0; 3], letters: [0; 3], len: 0 }; COUNT];
    let mut index = 1;
    while index < COUNT {
        let words = words(NAMES[index].as_bytes());
        let letters = [letters(words[0]), letters(words[1]), letters(words[2])];
        shapes[index] = Shape { words, letters, len: NAMES[index].len() };
        index += 1;
    }
    shapes
}

const fn letters(word: u64) -> u64 {
    let mut bytes = word.to_le_bytes();
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = if bytes[index].is_ascii_lowercase() { 0x20 } else { 0 };
        index += 1;
    }
    u64::from_le_bytes(bytes)
}
