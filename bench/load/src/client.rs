//! One HTTP/1.1 keep-alive connection with blocking calls. A thread per connection measures times
//! more evenly than an event loop, whose timers are a millisecond apart.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any time limit of a proxy under test, so that the proxy decides what is late.
const PATIENCE: Duration = Duration::from_secs(60);

/// No header that these backends and proxies send comes near; it bounds a proxy gone wild.
const MAX_BODY_BYTES: usize = 1 << 20;

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The connection may carry another request.
    pub(crate) reusable: bool,
    /// Which backend answered, by its own word (`x-instance`).
    pub(crate) instance: Option<String>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// Sends one complete request and reads its whole answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.get_mut().write_all(request)?;
        let (answer, length) = read_head(&mut self.stream, &mut self.line)?;
        if length > MAX_BODY_BYTES {
            return Err(malformed("body too large"));
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(answer)
    }
}

/// Reads up to the body and says how long that is. The backends always send `content-length`, so
/// an answer without one is a fault of the proxy and reported as such.
fn read_head(stream: &mut impl BufRead, line: &mut String) -> io::Result<(Answer, usize)> {
    next_line(stream, line)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed("status line"))?;
    let mut answer = Answer { status, reusable: true, instance: None };
    let mut length = None;
    loop {
        next_line(stream, line)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("header line"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(|_| malformed("content-length"))?);
        } else if name.eq_ignore_ascii_case("connection") {
            answer.reusable = !value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("x-instance") {
            answer.instance = Some(value.to_owned());
        }
    }
    Ok((answer, length.ok_or_else(|| malformed("no content-length"))?))
}

fn next_line(stream: &mut impl BufRead, line: &mut String) -> io::Result<()> {
    line.clear();
    if stream.read_line(line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str) -> io::Result<(Answer, usize)> {
        read_head(&mut head.as_bytes(), &mut String::new())
    }

    #[test]
    fn a_head_tells_status_length_instance_and_whether_the_connection_goes_on() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\nX-Instance: b\r\n\r\n";
        let (answer, length) = check(head).unwrap();
        assert_eq!(answer, Answer { status: 200, reusable: true, instance: Some("b".to_owned()) });
        assert_eq!(length, 16);
        let head = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (answer, _) = check(head).unwrap();
        assert_eq!((answer.status, answer.reusable), (503, false));
    }

    #[test]
    fn an_unframed_or_cut_answer_is_an_error() {
        assert!(check("HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(check("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n").is_err());
        assert!(check("SSH-2.0\r\n\r\n").is_err());
    }
}
