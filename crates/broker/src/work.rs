//! Takes the messages of a queue one by one and has something done with each, so many at a time. What
//! is done is acknowledged, and what was not done when the house ends, however it ends, comes again.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::error::Error;
use crate::ids::DeliveryTag;
use crate::inside::{Happened, Session};
use crate::state::{Act, Consume, Delivered, Qos};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Done,
    /// It goes where the dead of its queue go.
    Dead,
}

/// Works on `queue` until its session is over or the queue is gone; says which error it was.
pub(crate) async fn work<F, Fut>(
    mut session: Session,
    queue: &str,
    at_once: u16,
    each: F,
) -> Result<(), Error>
where
    F: Fn(Delivered) -> Fut,
    Fut: Future<Output = Verdict>,
{
    session.ask(Act::Qos(Qos { prefetch: at_once, global: false })).await?;
    let consume = Consume { queue: queue.into(), tag: "work".into(), ..Consume::default() };
    session.ask(Act::Consume(consume)).await?;
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            happened = session.next() => match happened? {
                Happened::Delivered(_, delivered) => {
                    session.took(&delivered.message).await?;
                    let tag = delivered.tag;
                    let doing = each(delivered);
                    under_way.push(async move { (tag, doing.await) });
                }
                Happened::Cancelled(_) => return Ok(()),
            },
            Some((tag, verdict)) = under_way.next(), if !under_way.is_empty() => {
                session.tell(settlement(tag, verdict)).await?;
            }
        }
    }
}

fn settlement(tag: DeliveryTag, verdict: Verdict) -> Act {
    match verdict {
        Verdict::Done => Act::Ack { tag, multiple: false },
        Verdict::Dead => Act::Nack { tag, multiple: false, requeue: false },
    }
}
