//! A few appends, one at a time, with a line on the standard output as soon as each is confirmed.
//! Under `strace -f -tt -e trace=fsync,fdatasync,write` every line has an fsync of the write-ahead
//! log between it and the line before.

use std::io::Write as _;
use std::path::Path;

use posthouse_journal::{Journal as _, StreamName, Table};

use crate::load;

pub(crate) async fn run(appends: u32, size: usize, folder: &Path) -> anyhow::Result<()> {
    let journal = load::open(folder, None)?;
    let stream = StreamName::public("orders");
    let mut maker = load::Maker::new(size, 1);
    let mut out = std::io::stdout().lock();
    for number in 0..appends {
        journal.append(maker.batch(&stream, Table::Facts, 1)).await?;
        writeln!(out, "confirmed {number}")?;
        out.flush()?;
    }
    journal.close();
    Ok(())
}
