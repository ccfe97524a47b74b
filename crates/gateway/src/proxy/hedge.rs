//! Hedging: a call whose instance has fallen silent is asked of another as well, and whichever
//! answers first is taken. Only calls that are safe and have no body come here.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::call::Call;
use super::forward::{Answered, Awaited, Failed, Forward, Limit, Try};
use crate::cluster::{Failure, Outcome};
use crate::fault::exchange_failure;
use crate::upstream::{Empty, Exchange, Head};

impl Forward<'_> {
    /// Asks another instance as well, and takes whichever answers first.
    pub(super) async fn hedge(
        &mut self,
        call: &mut Call,
        mut first: Exchange,
        tried: Try,
        limit: Limit,
    ) -> Result<Box<Answered>, Failed> {
        let Some(other) = self.pick(call) else {
            let awaited = race(&mut first, std::future::pending(), limit.at).await;
            return self.raced(awaited, first, tried, limit);
        };
        self.note(call, &other);
        let second = async {
            let (mut exchange, other_try, _) = self.send(call, &other).await?;
            match poll_fn(|cx| poll_final_head(cx, &mut exchange)).await {
                Ok(head) => Ok(self.answered(head, exchange, other_try)),
                Err((failed, failure)) => {
                    other_try.finish(failure.map_or(Outcome::Cancelled, Outcome::Failure));
                    Err(failed)
                }
            }
        };
        let awaited = race(&mut first, second, limit.at).await;
        self.raced(awaited, first, tried, limit)
    }

    fn raced(
        &self,
        raced: Raced,
        first: Exchange,
        tried: Try,
        limit: Limit,
    ) -> Result<Box<Answered>, Failed> {
        match raced {
            Raced::First(awaited) => self.concluded(awaited, first, tried, limit),
            Raced::Second(answered) => {
                tried.finish(Outcome::Failure(Failure::Timeout));
                Ok(answered)
            }
        }
    }

    /// What a wait that nothing interrupts has come to.
    fn concluded(
        &self,
        awaited: Awaited,
        exchange: Exchange,
        tried: Try,
        limit: Limit,
    ) -> Result<Box<Answered>, Failed> {
        match awaited {
            Awaited::Head(head) => Ok(self.answered(head, exchange, tried)),
            Awaited::Failed(failed, failure) => {
                tried.finish(failure.map_or(Outcome::Cancelled, Outcome::Failure));
                Err(failed)
            }
            Awaited::Late | Awaited::Look => {
                exchange.condemn();
                tried.finish(Outcome::Failure(Failure::Timeout));
                Err(Failed::on_connection(limit.fault, limit.retry))
            }
        }
    }
}

/// The head of a response to a request without a body.
fn poll_final_head(
    cx: &mut Context<'_>,
    exchange: &mut Exchange,
) -> Poll<Result<Head, (Failed, Option<Failure>)>> {
    loop {
        match std::task::ready!(exchange.poll_head(cx, &mut Empty)) {
            Ok(head) if head.is_informational() => {}
            Ok(head) => return Poll::Ready(Ok(head)),
            Err(error) => {
                let failed = Failed::on_connection(error.kind.into(), error.retry);
                return Poll::Ready(Err((failed, exchange_failure(&error))));
            }
        }
    }
}

/// Which of two tries was quicker.
enum Raced {
    First(Awaited),
    Second(Box<Answered>),
}

/// Waits for the first of two answers. One that fails leaves the other to be waited for.
async fn race(
    first: &mut Exchange,
    second: impl Future<Output = Result<Box<Answered>, Failed>>,
    limit: Option<Instant>,
) -> Raced {
    let mut second = pin!(second);
    let mut first_failed = None;
    let mut second_failed = false;
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep_until(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut late = pin!(late);
    poll_fn(|cx| {
        if first_failed.is_none()
            && let Poll::Ready(head) = poll_final_head(cx, first)
        {
            match head {
                Ok(head) => return Poll::Ready(Raced::First(Awaited::Head(head))),
                Err(failed) => first_failed = Some(failed),
            }
        }
        if !second_failed && let Poll::Ready(answer) = second.as_mut().poll(cx) {
            match answer {
                Ok(answered) => return Poll::Ready(Raced::Second(answered)),
                Err(_) => second_failed = true,
            }
        }
        if second_failed && let Some((failed, failure)) = first_failed.take() {
            return Poll::Ready(Raced::First(Awaited::Failed(failed, failure)));
        }
        late.as_mut().poll(cx).map(|()| Raced::First(Awaited::Late))
    })
    .await
}
