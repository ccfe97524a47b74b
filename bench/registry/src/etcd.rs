//! etcd's puts and gets, over gRPC as its own clients speak it (`etcdserverpb.KV`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use serde::Serialize;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::{Rate, note};

/// As large as a registration is in the registry's journal, about.
const VALUE: usize = 256;

/// Calls share a connection, as those of etcd's own clients do, but not all of them one.
const CALLS_A_CONNECTION: usize = 8;

#[derive(Debug, Serialize)]
pub(crate) struct Results {
    puts: Rate,
    gets: Rate,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Put,
    Get,
}

pub(crate) async fn measure(
    url: &str,
    clients: usize,
    keys: usize,
    time: Duration,
) -> anyhow::Result<Results> {
    let mut channels = Vec::new();
    for _ in 0..clients.div_ceil(CALLS_A_CONNECTION) {
        channels.push(Endpoint::from_shared(url.to_owned())?.connect().await.context("etcd")?);
    }
    let puts = run(&channels, Call::Put, clients, keys, time).await?;
    let gets = run(&channels, Call::Get, clients, keys, time).await?;
    Ok(Results { puts, gets })
}

async fn run(
    channels: &[Channel],
    call: Call,
    clients: usize,
    keys: usize,
    time: Duration,
) -> anyhow::Result<Rate> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let channel = channels[client % channels.len()].clone();
        tasks.push(tokio::spawn(one(channel, call, client, (clients, keys), began + time)));
    }
    let mut delays = Histogram::new(3)?;
    for task in tasks {
        delays.add(task.await??)?;
    }
    Ok(Rate::new(&delays, began.elapsed()))
}

async fn one(
    channel: Channel,
    call: Call,
    client: usize,
    (clients, keys): (usize, usize),
    until: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut grpc = Grpc::new(channel);
    let mut delays = Histogram::new(3)?;
    // Of the keys that this client puts, those that it gets.
    for number in (client..keys).step_by(clients).cycle() {
        if Instant::now() >= until {
            break;
        }
        let key = format!("/services/svc-{}/{}", number / 10, number % 10).into_bytes();
        let asked = Instant::now();
        grpc.ready().await?;
        match call {
            Call::Put => {
                let put = tonic::Request::new(PutRequest { key, value: vec![b'x'; VALUE] });
                let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
                let codec = ProstCodec::<_, PutResponse>::default();
                grpc.unary(put, path, codec).await?;
            }
            Call::Get => {
                let get = tonic::Request::new(RangeRequest { key });
                let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
                let codec = ProstCodec::<_, RangeResponse>::default();
                let found = grpc.unary(get, path, codec).await?.into_inner().count;
                ensure!(found == 1, "{found} keys of one name: it was put before");
            }
        }
        note(&mut delays, asked.elapsed())?;
    }
    Ok(delays)
}
