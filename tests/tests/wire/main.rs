//! What may not pass, on the wire: malformed and ambiguous requests and responses against the
//! shipped binary, and well-formed odd ones that must pass. The rows are written from RFC 9110,
//! 9112, 9113 and 8441 and from the request-smuggling techniques that are known, not from the
//! codec: each names the section that it breaks or keeps.
//!
//! Each table runs against one house, row by row. After every row an innocent request on a
//! connection of its own must reach the backend alone and get its own answer; so a row that leaks,
//! poisons a pooled connection or ends a thread is named.
//!
//! [`recorder`] notes every byte that reaches the instance; [`script`] answers with any bytes; [`frames`] writes and reads HTTP/2 by
//! hand. Requests: [`requests1`], [`requests2`]; responses: [`responses1`], [`responses2`];
//! what must pass: [`passing`]; bodies, streams and slow clients: [`streams`], [`streams2`],
//! [`clients2`]; what is logged: [`ledger`].

mod chunk_rows;
mod clients2;
mod field_rows;
mod frame_rows;
mod frames;
mod framing_rows;
mod ledger;
mod line_rows;
mod passing;
mod recorder;
mod requests1;
mod requests2;
mod responses1;
mod responses2;
mod script;
mod streams;
mod streams2;
mod table;
