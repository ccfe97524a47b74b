//! Writes to a journal from many tasks until it is killed, for the crash, power-cut and disk tests.
//!
//! Prints a line for each thing that has happened: `ready`, `ok WRITER BATCH FACT WORK` once a batch
//! is confirmed, `err WRITER BATCH WHY` when it is not (it is then written again), `out WHY` and
//! `serving` as the journal's health changes, and `read EVENTS` when a reader has gone through all.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::path::PathBuf;
use std::sync::Arc;

use posthouse_journal::sqlite::{Options, Sqlite, Synchronous};
use posthouse_journal::{Config, Error, Health, Journal, Table};
use posthouse_tests::ledger::{Confirmed, Writer, read_all};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let writers: u64 = arguments.next().and_then(|count| count.parse().ok()).expect("a number");
    let synchronous = match arguments.next().as_deref() {
        Some("unsynced") => Synchronous::Off,
        _ => Synchronous::Full,
    };
    let options = Options { synchronous, ..Options::default() };
    let journal = Sqlite::open(&folder, &Config::default(), options).expect("the journal opens");
    let journal: Arc<dyn Journal> = Arc::new(journal);
    let mut resumed = Vec::new();
    for number in 0..writers {
        let writer = Writer::resume(&*journal, number).await.expect("what was written is there");
        resumed.push(writer);
    }
    println!("ready");
    let mut tasks = tokio::task::JoinSet::new();
    for writer in resumed {
        tasks.spawn(write(Arc::clone(&journal), writer));
    }
    tasks.spawn(tell_health(Arc::clone(&journal)));
    tasks.spawn(read(Arc::clone(&journal)));
    // Whoever ends has found something wrong, and has said so.
    tasks.join_next().await;
    std::process::exit(1);
}

async fn write(journal: Arc<dyn Journal>, mut writer: Writer) {
    loop {
        match journal.append(writer.batch()).await {
            Ok(done) => {
                let confirmed = writer.confirmed(&done.streams).expect("a sound answer");
                let Confirmed { writer, batch, fact, work } = confirmed;
                println!("ok {writer} {batch} {} {}", fact.get(), work.get());
            }
            Err(error @ Error::Unavailable(_)) => {
                println!("err {} {} {error}", writer.number(), writer.next());
                let mut head = journal.head();
                let back = head.wait_for(|head| head.health == Health::Serving).await;
                back.expect("the journal stays");
            }
            Err(error) => panic!("{writer:?}: {error}"),
        }
    }
}

async fn tell_health(journal: Arc<dyn Journal>) {
    let mut head = journal.head();
    let mut known = Health::Serving;
    loop {
        let health = head.borrow_and_update().health.clone();
        if health != known {
            match &health {
                Health::Serving => println!("serving"),
                Health::Out(outage) => println!("out {outage}"),
            }
            known = health;
        }
        head.changed().await.expect("the journal stays");
    }
}

async fn read(journal: Arc<dyn Journal>) {
    loop {
        let read = read_all(&*journal, Table::Facts).await;
        println!("read {}", read.expect("reading goes on").len());
    }
}
