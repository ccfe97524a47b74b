//! The socket of a client that has been let in. One task reads, writes, asks and listens, none of
//! which waits for another: requests are handed in while deliveries go out. It reads on only while
//! the rules take what was read and the client takes what is written, so that neither a flood of
//! requests nor a client that reads nothing makes it grow.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::handshake::Guest;
use super::input::Input;
use super::output::Output;
use super::session::{Request, Session};
use super::wire::Fault;
use crate::error::Error;
use crate::service::{Asking, Told};
use crate::state::Code;

/// With so much to write, nothing more is read or listened to.
const FULL: usize = 256 << 10;
/// How long a client may take to answer that we close.
const CLOSING: Duration = Duration::from_secs(10);
/// How long what a client still sends is read, so that it can read our last words.
const LINGER: Duration = Duration::from_secs(1);
/// When nothing is due.
const FAR: Duration = Duration::from_secs(3600);

/// Requests on their way to the rules, and who takes them there.
type Errand = Pin<Box<dyn Future<Output = (Option<Asking>, Result<(), Error>)> + Send>>;

/// A connection.
pub(super) struct Connection {
    session: Session,
    input: Input,
    told: Told,
    /// Whether there is anybody who tells.
    listens: bool,
    /// At home, or out on an errand; neither once the rules are told that it is over.
    asking: Option<Asking>,
    errand: Option<Errand>,
    heartbeat: Duration,
    last_read: Instant,
    last_written: Instant,
    closing_since: Option<Instant>,
}

/// What happened.
enum Happened {
    Asked((Option<Asking>, Result<(), Error>)),
    Told(Option<crate::state::Output>),
    Written(std::io::Result<()>),
    Read(std::io::Result<usize>),
    Due,
    HouseCloses,
}

impl Connection {
    pub(super) fn new(guest: Guest, mut input: Input, output: Output) -> Self {
        let Guest { name, agreed, heartbeat, asking, told } = guest;
        input.agree(agreed.frame_max);
        let now = Instant::now();
        Self {
            session: Session::new(name, agreed, output),
            input,
            told,
            listens: true,
            asking: Some(asking),
            errand: None,
            heartbeat,
            last_read: now,
            last_written: now,
            closing_since: None,
        }
    }

    /// Serves until the connection is over. `closing` becomes true when the house ends.
    pub(super) async fn serve<R, W>(
        mut self,
        (mut reader, mut writer): (R, W),
        mut closing: watch::Receiver<bool>,
    ) where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut alarm = Box::pin(sleep_until(self.next_due()));
        let mut house_closes = Box::pin(async move {
            let _true_or_gone = closing.wait_for(|closing| *closing).await;
        });
        let mut stay_open = true;
        loop {
            self.take_frames();
            self.hand_in();
            if self.session.is_over() && self.session.output.is_empty() {
                break;
            }
            let house = stay_open.then_some(house_closes.as_mut());
            let what = self.next((&mut reader, &mut writer), alarm.as_mut(), house);
            match what.await {
                Happened::Asked(back) => self.came_back(back),
                Happened::Told(told) => self.listen(told),
                Happened::Written(Ok(())) => self.last_written = Instant::now(),
                Happened::Read(Ok(1..)) => self.last_read = Instant::now(),
                Happened::Read(Ok(0)) | Happened::Read(Err(_)) | Happened::Written(Err(_)) => {
                    self.gone();
                    return;
                }
                Happened::Due => {
                    if self.is_given_up() {
                        return;
                    }
                }
                Happened::HouseCloses => {
                    stay_open = false;
                    let detail = "broker forced connection closure with reason 'shutdown'";
                    self.session.close(&Fault::new(Code::ConnectionForced, detail));
                }
            }
            self.note_closing();
            if alarm.deadline() <= Instant::now() || self.next_due() < alarm.deadline() {
                alarm.as_mut().reset(self.next_due());
            }
        }
        part(reader, writer).await;
    }

    /// Waits for whatever comes first of what may happen now.
    async fn next<R, W>(
        &mut self,
        (reader, writer): (&mut R, &mut W),
        alarm: Pin<&mut Sleep>,
        house: Option<impl Future<Output = ()> + Unpin>,
    ) -> Happened
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let Self { session, input, told, errand, listens, .. } = self;
        let room = session.output.waiting() < FULL;
        let may_read = room && errand.is_none() && session.wants_more();
        let may_listen = room && *listens && !session.is_over();
        let to_write = !session.output.is_empty();
        tokio::select! {
            back = if_any(errand.as_mut()) => Happened::Asked(back),
            told = told.next(), if may_listen => Happened::Told(told),
            written = session.output.write(writer), if to_write => Happened::Written(written),
            read = input.fill(reader), if may_read => Happened::Read(read),
            () = alarm => Happened::Due,
            () = if_any(house) => Happened::HouseCloses,
        }
    }

    /// Takes what was read apart, as far as it may be taken on.
    fn take_frames(&mut self) {
        while self.errand.is_none() && self.session.wants_more() {
            match self.input.next() {
                Ok(None) => return,
                Ok(Some(frame)) => self.session.frame(frame),
                Err(_) if self.session.is_closing() => {
                    // What follows cannot be told from noise; only the end may come.
                    self.input.forget();
                    return;
                }
                Err(fault) => {
                    tracing::info!(client = self.session.name(), "it made a mistake: {fault}");
                    self.input.forget();
                    self.session.close(&fault);
                }
            }
        }
    }

    /// Sends what is to be asked on its way.
    fn hand_in(&mut self) {
        let Some(asking) = self.asking.take() else { return };
        let requests = self.session.requests();
        let written = self.session.written();
        if requests.is_empty() && written == (0, 0) {
            self.asking = Some(asking);
        } else {
            self.errand = Some(Box::pin(hand_in(asking, requests, written)));
        }
    }

    fn came_back(&mut self, (asking, result): (Option<Asking>, Result<(), Error>)) {
        self.errand = None;
        self.asking = asking;
        if let Err(error) = result {
            self.session.close(&Fault::new(Code::ConnectionForced, error.to_string()));
        }
    }

    /// Takes what was told, and what else is there already.
    fn listen(&mut self, told: Option<crate::state::Output>) {
        let Some(told) = told else {
            self.listens = false;
            let over = "the broker has ended the connection";
            self.session.tell_over(&Fault::new(Code::ConnectionForced, over));
            return;
        };
        self.session.tell(told);
        while self.session.output.waiting() < FULL
            && let Some(told) = self.told.try_next()
        {
            self.session.tell(told);
        }
        self.session.write_confirms();
    }

    fn gone(&self) {
        if !self.session.is_over() {
            tracing::debug!(client = self.session.name(), "it went without closing its connection");
        }
    }

    fn note_closing(&mut self) {
        if self.session.is_closing() && self.closing_since.is_none() {
            self.closing_since = Some(Instant::now());
        }
    }

    /// When time itself makes a difference: a sign of life is owed, or one is missing (§4.2.7).
    fn next_due(&self) -> Instant {
        if let Some(since) = self.closing_since {
            return since + CLOSING;
        }
        if self.heartbeat.is_zero() {
            return Instant::now() + FAR;
        }
        let missing = self.last_sign() + self.heartbeat * 2;
        match self.session.output.is_empty() {
            true => missing.min(self.last_written + self.heartbeat / 2),
            false => missing,
        }
    }

    /// When the client last showed that it is there: it has written, or taken something while it
    /// still has more to take, for until then it is not read from.
    fn last_sign(&self) -> Instant {
        match self.session.output.is_empty() {
            true => self.last_read,
            false => self.last_read.max(self.last_written),
        }
    }

    /// Gives the sign of life that is due. Whether the connection is given up.
    fn is_given_up(&mut self) -> bool {
        let now = Instant::now();
        if let Some(since) = self.closing_since {
            return now >= since + CLOSING;
        }
        if self.heartbeat.is_zero() {
            return false;
        }
        if self.errand.is_some() || !self.session.wants_more() {
            // Nobody reads: its silence is our own.
            self.last_read = now;
        }
        if now >= self.last_sign() + self.heartbeat * 2 {
            let seconds = self.heartbeat.as_secs();
            let client = self.session.name();
            tracing::warn!(client, "missed heartbeats from client, timeout: {seconds}s");
            return true;
        }
        let silent = self.session.output.is_empty();
        if silent && now >= self.last_written + self.heartbeat / 2 {
            self.session.output.heartbeat();
        }
        false
    }
}

/// What `future` comes to; nothing ever if there is none.
async fn if_any<T>(future: Option<impl Future<Output = T> + Unpin>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Takes requests to the rules, in their order.
async fn hand_in(
    mut asking: Asking,
    requests: Vec<Request>,
    (deliveries, weight): (u32, u64),
) -> (Option<Asking>, Result<(), Error>) {
    if deliveries > 0
        && let Err(error) = asking.written(deliveries, weight).await
    {
        return (Some(asking), Err(error));
    }
    for request in requests {
        let asked = match request {
            Request::Open(channel) => asking.open_channel(channel).await,
            Request::Act(channel, act) => asking.act(channel, act).await,
            Request::CloseChannel(channel) => asking.close_channel(channel).await,
            Request::Close => return (None, asking.close().await),
        };
        if let Err(error) = asked {
            return (Some(asking), Err(error));
        }
    }
    (Some(asking), Ok(()))
}

/// Ends a socket so that the last that was written can be read: what comes is read until the other
/// end has gone, because a socket that is closed with something unread takes back what it sent.
pub(super) async fn part(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
    let linger = async {
        writer.shutdown().await?;
        let mut rest = [0; 1024];
        while reader.read(&mut rest).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    let _gone_or_not = timeout(LINGER, linger).await;
}
