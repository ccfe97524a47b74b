//! A response's body on its way to a client over HTTP/2, with what is left of its request's.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use ::h2::{Reason, SendStream};
use bytes::Bytes;
use tokio::time::Instant;

use super::call::{Stream, send_head};
use crate::fault::Fault;
use crate::http::head::Known;
use crate::proxy::{Length, Relay};
use crate::upstream::Frame;

/// The first piece of a body up to this size is handed to the library without asking for room, which
/// spares small calls the question: it is held at most once per stream.
const UNASKED: usize = 16 << 10;

/// Sends a response to its end.
pub(super) async fn run(mut relay: Box<Relay>, client: &mut Stream<'_>) {
    let ends = poll_fn(|cx| Poll::Ready(ends_with_head(&mut relay, client, cx))).await;
    let mut fields = std::mem::take(&mut relay.fields);
    fields.remove(Known::TransferEncoding);
    if let Length::Known(length @ 1..) = relay.length
        && fields.get(Known::ContentLength).is_none()
    {
        fields.set_known(Known::ContentLength, itoa::Buffer::new().format(length).as_bytes());
    }
    let stream = send_head(&mut client.respond.borrow_mut(), relay.status, &fields, ends);
    drop(fields);
    let Some(stream) = stream else { return relay.finish(Some(Fault::ClientGone)) };
    if ends {
        return;
    }
    let mut moving =
        Moving { relay, client, stream, waiting: Bytes::new(), is_last: false, has_begun: false };
    if let Err(fault) = moving.run().await {
        // The stream is reset, so that what came does not pass for a whole.
        let reason =
            if fault == Fault::ClientGone { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        moving.stream.send_reset(reason);
        moving.relay.finish(Some(fault));
    }
}

/// Whether a response has no body, so that its head ends the stream: gRPC clients take a status in
/// the head (Trailers-Only) for one only then. If so, the relay has ended.
fn ends_with_head(relay: &mut Relay, client: &mut Stream<'_>, cx: &mut Context<'_>) -> bool {
    if relay.length != Length::Known(0) {
        return false;
    }
    let _nothing = relay.poll_frame(cx, client);
    relay.finish(None);
    true
}

/// A body on its way.
struct Moving<'a, 'b> {
    relay: Box<Relay>,
    client: &'a mut Stream<'b>,
    stream: SendStream<Bytes>,
    /// Received from the instance, and more than the client takes now.
    waiting: Bytes,
    /// Nothing comes after what waits.
    is_last: bool,
    /// Something was sent.
    has_begun: bool,
}

impl Moving<'_, '_> {
    async fn run(&mut self) -> Result<(), Fault> {
        let mut since: Option<Instant> = None;
        let mut progress = self.relay.progress();
        poll_fn(|cx| {
            let waited = self.waiting.len();
            if let Poll::Ready(ended) = self.poll_move(cx) {
                return Poll::Ready(ended);
            }
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Fault::ClientGone));
            }
            if self.waiting.len() != waited || self.relay.progress() != progress {
                progress = self.relay.progress();
                since = None;
            }
            let since = *since.get_or_insert_with(Instant::now);
            let (deadline, mut fault) = self.relay.deadline(since);
            if !self.waiting.is_empty() && !matches!(fault, Fault::Timeout("timeout")) {
                fault = Fault::ClientGone;
            }
            self.client.timer.poll_until(cx, deadline).map(|()| Err(fault))
        })
        .await
    }

    /// Moves what can be moved; ready at the end.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            if !self.waiting.is_empty() {
                match self.poll_send(cx) {
                    Poll::Ready(Ok(())) if self.is_last => return Poll::Ready(Ok(())),
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => {
                        self.relay.poll_upload(cx, self.client);
                        return Poll::Pending;
                    }
                }
            }
            match ready!(self.relay.poll_frame(cx, self.client)).transpose()? {
                Some(Frame::Data(data)) => {
                    self.waiting = data;
                    self.is_last = self.relay.is_last()
                        && matches!(self.relay.poll_frame(cx, self.client), Poll::Ready(None));
                }
                Some(Frame::Trailers(trailers)) => {
                    let trailers = trailers
                        .to_header_map(Known::Other)
                        .map_err(|_| Fault::Answer("trailers"))?;
                    self.relay.finish(None);
                    let _gone = self.stream.send_trailers(trailers);
                    return Poll::Ready(Ok(()));
                }
                None => {
                    let _gone = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Sends what waits, as far as the client takes it and little of it is held already.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if !std::mem::replace(&mut self.has_begun, true) && self.waiting.len() <= UNASKED {
            let sent = self.stream.send_data(std::mem::take(&mut self.waiting), self.is_last);
            return Poll::Ready(sent.map_err(|_| Fault::ClientGone));
        }
        loop {
            self.stream.reserve_capacity(self.waiting.len());
            if self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(Err(Fault::ClientGone)),
                }
            }
            let len = self.stream.capacity().min(self.waiting.len());
            let piece = self.waiting.split_to(len);
            let is_whole = self.waiting.is_empty();
            if self.stream.send_data(piece, is_whole && self.is_last).is_err() {
                return Poll::Ready(Err(Fault::ClientGone));
            }
            if is_whole {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
