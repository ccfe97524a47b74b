//! The field names that a gateway acts upon, as one byte each.
//!
//! A name is looked up once, when its line is parsed; everything after that compares bytes of one
//! kind. The lookup hashes the length and three bytes into a table that is built, and checked to
//! have no collision, when the crate is compiled.

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
        let known = TABLE[slot(name)];
        if NAMES[known as usize].as_bytes().eq_ignore_ascii_case(name) {
            known
        } else {
            Self::Other
        }
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
const TABLE: [Known; SLOTS] = build_table();

// The multipliers were found by search; `build_table` proves them free of collisions.
const fn slot(name: &[u8]) -> usize {
    let first = (name[0] | 0x20) as usize;
    let middle = (name[name.len() / 2] | 0x20) as usize;
    let late = (name[name.len() - 2] | 0x20) as usize;
    (name.len() * M_LEN + first * M_FIRST + middle * M_MIDDLE + late * M_LATE) % SLOTS
}

const M_LEN: usize = 199;
const M_FIRST: usize = 197;
const M_MIDDLE: usize = 144;
const M_LATE: usize = 249;

const fn build_table() -> [Known; SLOTS] {
    const { assert!(COUNT <= 64, "a set of names is one 64-bit word") };
    let mut table = [Known::Other; SLOTS];
    let mut index = 1;
    while index < COUNT {
        let name = NAMES[index].as_bytes();
        assert!(name.len() >= SHORTEST && name.len() <= LONGEST, "the length is out of bounds");
        let slot = slot(name);
        assert!(table[slot] as u8 == Known::Other as u8, "two names share a slot");
        table[slot] = ALL[index];
        index += 1;
    }
    table
}
