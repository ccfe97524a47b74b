//! The benchmarks' own load generator and backend, for what `wrk`, `h2load` and nginx cannot do: a
//! constant rate whose latencies count from when a request was due, a fixed number of requests over
//! many routes, instances that are killed one by one, and gRPC answers with trailers.
//!
//! It is a program of its own, not a part of `xtask`: it must be optimised for its figures to be
//! worth anything, while `xtask` is compiled for every `cargo xtask …` and must stay quick to build.

mod backend;
mod certificate;
mod client;
mod constant;
mod credentials;
mod sweep;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Load generator and backend of the benchmarks")]
enum Command {
    /// Answer every request with a small body.
    Backend(backend::Options),
    /// Write a self-signed ECDSA P-256 certificate for localhost.
    Certificate(certificate::Options),
    /// Write what calls show to guards, and what guards know of it.
    Credentials(credentials::Options),
    /// Send GET requests at a constant rate.
    Constant(constant::Options),
    /// Send a fixed number of GET requests over many routes, as fast as they are answered.
    Sweep(sweep::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Backend(options) => backend::run(options),
        Command::Certificate(options) => certificate::run(&options),
        Command::Credentials(options) => credentials::run(&options),
        Command::Constant(options) => constant::run(&options),
        Command::Sweep(options) => sweep::run(&options),
    }
}
