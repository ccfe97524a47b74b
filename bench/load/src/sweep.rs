//! A fixed number of requests over `/svc-0/…` to `/svc-(N-1)/…`, in a fixed shuffled order, so that
//! two runs do the same work and instructions can be counted.

use std::net::SocketAddr;
use std::thread;

use anyhow::{anyhow, ensure};

use crate::client::Connection;

/// A prime, so that steps of this size visit every route before any comes again.
const STRIDE: u64 = 7_919;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    routes: u64,
    #[arg(long)]
    requests: u64,
    #[arg(long, default_value_t = 8)]
    connections: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(
        options.routes > 0 && !options.routes.is_multiple_of(STRIDE),
        "routes: not 0, not of {STRIDE}"
    );
    thread::scope(|scope| {
        let threads: Vec<_> = (0..options.connections)
            .map(|number| scope.spawn(move || send_share(options, number)))
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a connection's thread ended"))??;
        }
        Ok(())
    })
}

fn send_share(options: &Options, number: u64) -> anyhow::Result<()> {
    let mut connection = Connection::open(options.address)?;
    let mut turn = number;
    while turn < options.requests {
        let route = turn * STRIDE % options.routes;
        let address = options.address;
        let request = format!("GET /svc-{route}/hello HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let answer = connection.exchange(request.as_bytes())?;
        ensure!(answer.status == 200, "route {route}: status {}", answer.status);
        if !answer.reusable {
            connection = Connection::open(options.address)?;
        }
        turn += options.connections;
    }
    Ok(())
}
