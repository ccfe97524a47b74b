//! The files in which pages of the database are kept: whole images, and segments of what changed.
//!
//! One line of text says what it is; then come pages, each with its number in four bytes (big-endian),
//! of which a later one stands for an earlier one of the same number; then the number 0, the
//! database's size in pages, and the SHA-256 of everything before it.

use std::io::{self, BufReader, BufWriter, Read, Write};

use posthouse_base::time::Timestamp;
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::event::Position;

/// The format that is written, and the latest that is read.
const FORMAT: u32 = 1;
const NAME: &str = "posthouse-journal";
/// The longest first line.
const MAX_LINE: u64 = 512;
const BUFFER: usize = 1 << 20;

/// The SHA-256 of a whole file.
pub(crate) type Digest = [u8; 32];

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All pages of a database.
    Image,
    /// Those that changed.
    Segment,
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) page_size: u32,
    /// When it was begun.
    pub(crate) created: Timestamp,
    /// The last position of the journal at that time.
    pub(crate) position: Position,
}

/// Writes a file.
#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    out: BufWriter<W>,
    hash: Sha256,
    bytes: u64,
}

/// Reads a file and checks it on the way.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    input: BufReader<R>,
    hash: Sha256,
    pub(crate) header: Header,
    pub(crate) bytes: u64,
    end: Option<End>,
}

/// What the end of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The database's size in pages.
    pub(crate) pages: u32,
    pub(crate) digest: Digest,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W, header: &Header) -> io::Result<Self> {
        let out = BufWriter::with_capacity(BUFFER, out);
        let mut writer = Self { out, hash: Sha256::new(), bytes: 0 };
        let kind = header.kind.name();
        let Header { page_size, created, position, .. } = header;
        let (created, position) = (created.as_millis(), position.get());
        writer.put(
            format!(
                "{NAME}-{kind} {FORMAT} page-size={page_size} created-ms={created} \
                 position={position}\n"
            )
            .as_bytes(),
        )?;
        Ok(writer)
    }

    /// Adds a page; numbers begin at 1.
    pub(crate) fn page(&mut self, number: u32, page: &[u8]) -> io::Result<()> {
        self.put(&number.to_be_bytes())?;
        self.put(page)
    }

    /// Ends the file.
    pub(crate) fn finish(mut self, pages: u32) -> io::Result<(W, Digest, u64)> {
        self.put(&0_u32.to_be_bytes())?;
        self.put(&pages.to_be_bytes())?;
        let inner: Digest = self.hash.clone().finalize().into();
        self.put(&inner)?;
        let out = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((out, self.hash.finalize().into(), self.bytes))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the first line.
    pub(crate) fn open(input: R) -> Result<Self, Error> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut input, MAX_LINE);
        io::BufRead::read_until(&mut limited, b'\n', &mut line).map_err(Error::reading)?;
        let header = parse(&line)?;
        let hash = Sha256::new_with_prefix(&line);
        Ok(Self { input, hash, header, bytes: line.len() as u64, end: None })
    }

    /// The next page and its number; `None` at the end, which is as it must be then.
    pub(crate) fn next(&mut self, page: &mut Vec<u8>) -> Result<Option<u32>, Error> {
        let mut number = [0; 4];
        self.get(&mut number)?;
        let number = u32::from_be_bytes(number);
        if number != 0 {
            page.resize(usize::try_from(self.header.page_size).unwrap_or(usize::MAX), 0);
            self.get(page)?;
            return Ok(Some(number));
        }
        let mut pages = [0; 4];
        self.get(&mut pages)?;
        let right: Digest = self.hash.clone().finalize().into();
        let mut digest = Digest::default();
        self.get(&mut digest)?;
        if digest != right {
            return Err(Error::damaged("its checksum is wrong"));
        }
        if self.input.read(&mut [0]).map_err(Error::reading)? > 0 {
            return Err(Error::damaged("something follows its end"));
        }
        let digest = self.hash.clone().finalize().into();
        self.end = Some(End { pages: u32::from_be_bytes(pages), digest });
        Ok(None)
    }

    /// Reads to the end.
    pub(crate) fn verify(mut self, mut progress: impl FnMut(u64)) -> Result<End, Error> {
        let mut page = Vec::new();
        while self.next(&mut page)?.is_some() {
            progress(self.bytes);
        }
        self.end()
    }

    /// What the end said, once it was read.
    pub(crate) fn end(&self) -> Result<End, Error> {
        self.end.ok_or_else(|| Error::damaged("it ends too early"))
    }

    fn get(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::damaged("it ends too early"),
            _ => Error::reading(error),
        })?;
        self.hash.update(&*bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Segment => "segment",
        }
    }
}

fn parse(line: &[u8]) -> Result<Header, Error> {
    let foreign = || Error::damaged("it does not begin as a backup does");
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n'));
    let mut words = line.ok_or_else(foreign)?.split(' ');
    let kind = words.next().and_then(|word| word.strip_prefix(NAME)?.strip_prefix('-'));
    let kind = match kind {
        Some("image") => Kind::Image,
        Some("segment") => Kind::Segment,
        _ => return Err(foreign()),
    };
    let format: u32 = words.next().and_then(|word| word.parse().ok()).ok_or_else(foreign)?;
    if format > FORMAT {
        return Err(Error::Newer);
    }
    let mut values = [None; 3];
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let place = ["page-size", "created-ms", "position"].iter().position(|name| *name == key);
        if let Some(place) = place {
            values[place] = value.parse::<u64>().ok();
        }
    }
    let [Some(page_size), Some(created), Some(position)] = values else { return Err(foreign()) };
    let page_size = u32::try_from(page_size).ok();
    let page_size = page_size.filter(|size| size.is_power_of_two() && (512..=65536).contains(size));
    Ok(Header {
        kind,
        page_size: page_size.ok_or_else(foreign)?,
        created: Timestamp::from_millis(created),
        position: Position::new(position),
    })
}

/// A digest as `sha256sum` prints it.
pub(crate) fn hex(digest: &Digest) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        kind: Kind::Image,
        page_size: 512,
        created: Timestamp::from_millis(7),
        position: Position::new(9),
    };

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &HEADER).expect("memory takes it");
        for number in 1..=3 {
            writer.page(number, &[7; 512]).expect("memory takes it");
        }
        writer.finish(3).expect("memory takes it").0
    }

    fn read(file: &[u8]) -> Result<End, Error> {
        Reader::open(file)?.verify(|_| {})
    }

    #[test]
    fn what_was_written_is_read() {
        let file = written();
        let mut reader = Reader::open(&file[..]).expect("a header");
        assert_eq!(reader.header, HEADER);
        let mut page = Vec::new();
        assert_eq!(reader.next(&mut page).expect("a page"), Some(1));
        assert_eq!(page, [7; 512]);
        let end = read(&file).expect("it is whole");
        assert_eq!((end.pages, hex(&end.digest)), (3, hex(&Sha256::digest(&file).into())));
    }

    #[test]
    fn damage_anywhere_is_found() {
        let file = written();
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 0x10;
            assert!(read(&damaged).is_err(), "byte {place} of {}", file.len());
            assert!(read(&file[..place]).is_err(), "cut at {place}");
        }
        let longer = [&file[..], b"x"].concat();
        assert!(read(&longer).is_err());
    }

    #[test]
    fn a_later_format_is_named_as_such() {
        let text = String::from_utf8_lossy(&written()[..80]).into_owned();
        let later = text.replacen(" 1 ", " 2 ", 1);
        assert!(matches!(read(later.as_bytes()), Err(Error::Newer)));
    }
}
