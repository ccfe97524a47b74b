//! Puts a message together from its frames (§4.2.6): a method, a header, pieces of the body. A body
//! that came in one frame is not copied; nothing is made room for that has only been announced.

use bytes::{Bytes, BytesMut};

use super::wire::{Fault, read_header};
use crate::state::{Code, Publish};

/// The most that is made room for at once.
const ROOM: usize = 1 << 20;

/// A message that has come in part.
#[derive(Debug)]
pub(super) struct Content {
    publish: Publish,
    /// The size of the body, once the header is there.
    announced: Option<usize>,
    first: Bytes,
    joined: BytesMut,
}

/// What may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Octets of a body.
    pub(super) body: usize,
    /// Octets of a header.
    pub(super) header: usize,
}

impl Content {
    /// After its method.
    pub(super) fn new(publish: Publish) -> Self {
        Self { publish, announced: None, first: Bytes::new(), joined: BytesMut::new() }
    }

    /// How much of the body is held.
    pub(super) fn held(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// Takes the header.
    ///
    /// # Errors
    /// When it is malformed, not expected, or announces a body that is too large, which closes the
    /// channel only.
    pub(super) fn header(&mut self, payload: &[u8], bounds: Bounds) -> Result<(), Fault> {
        if self.announced.is_some() {
            return Err(Fault::new(Code::UnexpectedFrame, "a second content header"));
        }
        if payload.len() > bounds.header {
            let detail = format!("a content header of more than {} octets", bounds.header);
            return Err(Fault::new(Code::FrameError, detail));
        }
        let (size, properties) = read_header(payload).map_err(|malformed| malformed.fault())?;
        let fits = usize::try_from(size).ok().filter(|size| *size <= bounds.body);
        let Some(size) = fits else {
            let most = bounds.body;
            let detail = format!("message size {size} is larger than configured max size {most}");
            return Err(Fault::new(Code::PreconditionFailed, detail));
        };
        self.publish.properties = properties;
        self.announced = Some(size);
        Ok(())
    }

    /// Takes a piece of the body.
    ///
    /// # Errors
    /// When the header has not come, or announced less.
    pub(super) fn body(&mut self, piece: Bytes) -> Result<(), Fault> {
        let Some(announced) = self.announced else {
            let detail = "expected content header for class 60, got content body instead";
            return Err(Fault::new(Code::UnexpectedFrame, detail));
        };
        if piece.len() > announced - self.held() {
            let detail = format!("a content body of more than the {announced} octets announced");
            return Err(Fault::new(Code::FrameError, detail));
        }
        if self.held() == 0 {
            self.first = piece;
            return Ok(());
        }
        if self.joined.is_empty() {
            self.joined.reserve(announced.min(ROOM));
            self.joined.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.joined.extend_from_slice(&piece);
        Ok(())
    }

    /// Whether all of it has come.
    pub(super) fn is_whole(&self) -> bool {
        self.announced == Some(self.held())
    }

    /// The message.
    pub(super) fn into_publish(self) -> Publish {
        let body = if self.joined.is_empty() { self.first } else { self.joined.freeze() };
        Publish { body, ..self.publish }
    }
}
