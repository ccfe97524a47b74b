//! Which route a call takes. Pure: a table is made once from the configuration and never changes.
//!
//! # Which routes match
//! A route matches a call when **all** conditions of its `match` hold:
//! - *host*: the host without its port, in any case, without a final dot. `*.shop.example` holds for
//!   every name below `shop.example`, at any depth, not for `shop.example` itself.
//! - *path*: the path is cut at each `/`, and segments are compared one by one. A literal segment
//!   holds for the same text, escaped or not (`/caf%C3%A9` is `/café`, `/%61` is `/a`); an escaped
//!   slash never cuts. `{name}` holds for one segment that is not empty, `{*name}` for the rest,
//!   also none: `/api/{*rest}` holds for `/api`, `/api/` and `/api/x/y`. Without `{*name}` the
//!   number of segments is the same: `/a/b` does not hold for `/a/b/`.
//!   A regular expression (`~ …`) is searched in the path in which needlessly escaped characters
//!   (letters, digits, `-._~`) are plain; `^` and `$` tie it to both ends.
//! - *methods*: one of them; GET includes HEAD.
//! - *headers*, *query*: each named one has a value that is as said; of several under one name, any.
//!   With `!` none of them is, and there need not be one.
//!   Query parameters are compared decoded, `+` being a space.
//!
//! # Which of them is taken
//! The most specific one. Of two routes that match, the first difference in this list decides:
//! 1. the host: a name, then `*.suffix` (longer first), then no host;
//! 2. the path: a template, then a regular expression, then no path. Of two templates, the first
//!    segment in which they differ: literal, then `{name}`, then `{*name}`. Different regular
//!    expressions rank as in the file. `/{*rest}` says no more than no path, and ranks with it
//!    (both hold for `*` too, the path of a call about the whole server);
//! 3. the conditions: some methods before none, then more headers, then more query parameters;
//! 4. the order in the file.
//!
//! A more specific route whose conditions do not hold never hides a less specific one. If no route
//! matches, but some would with another method, the answer is 405 with those methods; else 404.
//!
//! In reading order: [`table`] (routes and what finds them), `host`, `path` (where to look),
//! `condition` (what must hold), [`rewrite`] (what becomes of the call), `decode`.

mod condition;
mod decode;
mod host;
mod path;
pub mod rewrite;
pub mod table;
#[cfg(test)]
mod tests;

pub(crate) use decode::segment as decoded_segment;
pub use table::{Caught, Found, Lookup, Outcome, Route, RouteTable};
