//! A request's body on its way to instances: counted, held to the route's limit, and kept as far
//! as a retry may need it again.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::guard::telling::Telling;
use crate::upstream::{Frame, Source, SourceError};

/// What has become of a request's body so far.
#[derive(Default)]
pub(crate) struct Body {
    /// Bytes that came from the client.
    pub(crate) received: u64,
    /// More came than the route allows.
    pub(crate) too_large: bool,
    limit: Option<u64>,
    keep_limit: usize,
    kept: Vec<Frame>,
    kept_bytes: usize,
    /// The kept frames up to here have gone to the instance of this try.
    cursor: usize,
    /// Something was handed out that was not kept.
    lost: bool,
    /// Headers that may not come from outside, nor at the body's end.
    telling: Option<Arc<Telling>>,
}

impl Body {
    /// A body of at most `limit` bytes, of which up to `keep_limit` are kept for retries.
    /// What `telling` names is taken out of its trailers.
    pub(crate) fn new(
        limit: Option<u64>,
        keep_limit: usize,
        telling: Option<Arc<Telling>>,
    ) -> Self {
        Self { limit, keep_limit, telling, ..Self::default() }
    }

    /// Keeps up to `most` bytes from here on, whatever retries need.
    pub(crate) fn hold(&mut self, most: usize) {
        self.keep_limit = self.keep_limit.max(most);
    }

    /// Whether another try can send all of it.
    pub(crate) const fn can_repeat(&self) -> bool {
        !self.lost
    }

    /// Begins again for another try.
    pub(crate) const fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// The body as an instance gets it.
    pub(crate) fn over<'a>(&'a mut self, client: &'a mut dyn Source) -> Over<'a> {
        Over { body: self, client }
    }

    /// A response has begun: no retry will need what was kept and sent.
    pub(crate) fn settle(&mut self) {
        self.keep_limit = 0;
        if self.cursor == self.kept.len() {
            self.kept = Vec::new();
            self.cursor = 0;
        }
    }

    fn note(&mut self, frame: &Frame) -> Result<(), SourceError> {
        let len = match frame {
            Frame::Data(data) => data.len(),
            Frame::Trailers(_) => 0,
        };
        self.received += len as u64;
        if self.limit.is_some_and(|limit| self.received > limit) {
            self.too_large = true;
            return Err(SourceError::Gone);
        }
        if self.lost {
            return Ok(());
        }
        self.kept_bytes += len;
        if self.kept_bytes > self.keep_limit {
            self.lost = true;
            self.kept = Vec::new();
            self.cursor = 0;
        } else {
            self.kept.push(copy(frame));
            self.cursor = self.kept.len();
        }
        Ok(())
    }
}

/// Another handle of the same bytes.
fn copy(frame: &Frame) -> Frame {
    match frame {
        Frame::Data(data) => Frame::Data(data.clone()),
        Frame::Trailers(trailers) => Frame::Trailers(trailers.clone()),
    }
}

/// A [`Body`] together with the client that it comes from.
pub(crate) struct Over<'a> {
    body: &'a mut Body,
    client: &'a mut dyn Source,
}

impl Source for Over<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        if let Some(frame) = self.body.kept.get(self.body.cursor) {
            let frame = copy(frame);
            self.body.cursor += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        match ready!(self.client.poll_frame(cx)) {
            Some(Ok(mut frame)) => {
                if let (Frame::Trailers(trailers), Some(telling)) = (&mut frame, &self.body.telling)
                {
                    telling.strip(trailers);
                }
                let noted = self.body.note(&frame);
                Poll::Ready(Some(noted.map(|()| frame)))
            }
            other => Poll::Ready(other),
        }
    }

    fn is_end(&self) -> bool {
        self.body.cursor == self.body.kept.len() && self.client.is_end()
    }
}
