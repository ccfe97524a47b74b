//! The HTTP/1 codec from outside: tables of what it takes and what it refuses, properties over
//! generated messages, and agreement with an independent implementation on well-formed traffic.

mod bodies;
mod fields;
mod peer;
mod property;
mod requests;
mod responses;
