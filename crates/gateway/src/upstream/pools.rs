//! Who gets which connection. A table by the endpoints' slots, so that finding an unused connection
//! is an index and a pop; nothing here is shared with another thread but counters.
//!
//! Limits: connections to one instance over all threads (`circuit.connections`), calls that wait for
//! one (`circuit.pending`), unused ones per instance and thread ([`MOST_IDLE`]) and how long they
//! are kept (`timeouts.keep_alive`).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::call::Call;
use super::error::{ConnectError, ConnectErrorKind};
use super::tls::{Alpn, UpstreamTls};
use super::{Exchange, connect, h1, h2};
use crate::cluster::{Connection, Endpoint};
use crate::config::model::{Protocol, Service, ServiceTls};
use crate::http1::Limits;

/// Unused connections that a thread keeps to one instance.
const MOST_IDLE: usize = 256;
/// How often unused connections are looked through: they live up to this much longer than asked.
const TICK: Duration = Duration::from_millis(250);
/// How often a call that waits for a connection looks whether another thread has closed one.
const LOOK: Duration = Duration::from_millis(5);

/// The connections of one thread to all instances. Used on the runtime of its thread only.
#[derive(Debug)]
pub struct Pools {
    table: Rc<Table>,
}

#[derive(Debug)]
struct Table {
    common: Rc<Common>,
    slots: RefCell<Vec<Option<Rc<Slot>>>>,
    is_swept: Cell<bool>,
}

/// What all slots of a thread share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) tls: Arc<UpstreamTls>,
    /// Time in units of [`TICK`].
    tick: Cell<u32>,
}

/// A thread's connections to one instance, spoken to in one way.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Arc<Endpoint>,
    protocol: Protocol,
    tls: Option<ServiceTls>,
    common: Rc<Common>,
    #[expect(clippy::vec_box, reason = "a connection goes from call to call as one word")]
    idle: RefCell<Vec<Box<h1::Conn>>>,
    pub(super) shelf: h2::Shelf,
    limits: Cell<Limits>,
    keep_alive: Cell<Duration>,
    most: Cell<u32>,
    /// Another slot took this one's place: nothing is given back any more.
    is_retired: Cell<bool>,
    /// Calls of this thread that wait for a connection.
    waiting: Cell<usize>,
    returned: Notify,
}

/// A connection that carries nothing yet.
#[derive(Debug)]
pub struct Lease {
    leased: Leased,
    limits: Limits,
}

#[derive(Debug)]
enum Leased {
    H1 { conn: Box<h1::Conn>, slot: Rc<Slot> },
    H2(h2::Ticket),
}

/// A connection of a `tcp` service, counted while this lives.
#[derive(Debug)]
pub struct TcpLease {
    /// The connection.
    pub stream: TcpStream,
    _counted: Connection,
}

impl Pools {
    /// No connections yet.
    #[must_use]
    pub fn new(tls: Arc<UpstreamTls>) -> Self {
        let common = Rc::new(Common { tls, tick: Cell::new(0) });
        let slots = RefCell::default();
        Self { table: Rc::new(Table { common, slots, is_swept: Cell::new(false) }) }
    }

    /// A connection to an instance for this call, an unused one if there is any; then there is no
    /// waiting. A call that could not be repeated gets one that the kernel says is still open.
    /// `limits` hold for the heads of responses.
    ///
    /// # Errors
    /// When none can be opened in time, or no more are allowed. Nothing was sent.
    pub async fn lease(
        &self,
        endpoint: &Arc<Endpoint>,
        service: &Service,
        call: &Call<'_>,
        limits: Limits,
    ) -> Result<Lease, ConnectError> {
        let slot = self.table.slot(endpoint, service);
        // Boxed, so that the common case does not pay for the room that the other one needs.
        let leased = if slot.is_h2() {
            match h2::Shelf::take(&slot) {
                Some(ticket) => Leased::H2(ticket),
                None => {
                    slot.limits.set(limits);
                    Leased::H2(Box::pin(slot.connect_h2(service)).await?)
                }
            }
        } else {
            let must_be_open = !call.method.is_idempotent();
            match slot.take_idle(must_be_open) {
                Some(conn) => Leased::H1 { conn, slot },
                None => Box::pin(slot.connect_h1(service, must_be_open)).await?,
            }
        };
        Ok(Lease { leased, limits })
    }

    /// A connection to an instance of a `tcp` service.
    ///
    /// # Errors
    /// When none can be opened in time, or no more are allowed.
    pub async fn connect_tcp(
        &self,
        endpoint: &Arc<Endpoint>,
        service: &Service,
    ) -> Result<TcpLease, ConnectError> {
        let Some(counted) = endpoint.connection(service.circuit.connections) else {
            return Err(limit_reached(endpoint));
        };
        let address = endpoint.address;
        let stream =
            connect::within(service.connect_timeout, address, connect::tcp(address)).await?;
        Ok(TcpLease { stream, _counted: counted })
    }
}

impl Lease {
    /// Whether the connection carried calls before: the instance may be closing it just now.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        match &self.leased {
            Leased::H1 { conn, .. } => conn.is_reused(),
            Leased::H2(ticket) => ticket.is_reused(),
        }
    }

    /// Begins a call. What is wrong with it shows when the exchange is polled.
    #[must_use]
    pub fn send(self, call: &Call<'_>) -> Exchange {
        match self.leased {
            Leased::H1 { conn, slot } => {
                Exchange::h1(h1::Exchange::begin(conn, slot, call, self.limits))
            }
            Leased::H2(ticket) => Exchange::h2(h2::Exchange::begin(ticket, call, self.limits)),
        }
    }
}

impl Table {
    /// The slot for an endpoint, made anew when it is spoken to in another way than before, or when
    /// its place was another endpoint's.
    fn slot(self: &Rc<Self>, endpoint: &Arc<Endpoint>, service: &Service) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= endpoint.slot {
            slots.resize(endpoint.slot + 1, None);
        }
        let place = &mut slots[endpoint.slot];
        if let Some(slot) = place
            && slot.serves(endpoint, service)
        {
            slot.keep_alive.set(service.keep_alive);
            slot.most.set(service.circuit.connections);
            return Rc::clone(slot);
        }
        let slot = Rc::new(Slot::new(endpoint, service, &self.common));
        if let Some(before) = place.replace(Rc::clone(&slot)) {
            before.retire();
        }
        drop(slots);
        if !self.is_swept.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self)));
        }
        slot
    }
}

/// Closes what is unused for too long, for as long as the table lives.
async fn sweep(table: Weak<Table>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(table) = table.upgrade() else { return };
        table.common.tick.set(table.common.tick.get().wrapping_add(1));
        for place in table.slots.borrow_mut().iter_mut() {
            let Some(slot) = place else { continue };
            if slot.endpoint.is_removed() {
                slot.retire();
                *place = None;
            } else {
                slot.sweep();
            }
        }
    }
}

impl Slot {
    fn new(endpoint: &Arc<Endpoint>, service: &Service, common: &Rc<Common>) -> Self {
        let protocol = endpoint.protocol();
        Self {
            endpoint: Arc::clone(endpoint),
            protocol,
            tls: if speaks_tls(protocol) { service.tls.clone() } else { None },
            common: Rc::clone(common),
            idle: RefCell::default(),
            shelf: h2::Shelf::default(),
            limits: Cell::default(),
            keep_alive: Cell::new(service.keep_alive),
            most: Cell::new(service.circuit.connections),
            is_retired: Cell::new(false),
            waiting: Cell::new(0),
            returned: Notify::new(),
        }
    }

    /// Limits on the heads of responses.
    pub(super) fn limits(&self) -> Limits {
        self.limits.get()
    }

    pub(super) fn tls(&self) -> &Arc<UpstreamTls> {
        &self.common.tls
    }

    pub(super) fn tick(&self) -> u32 {
        self.common.tick.get()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    /// Tells a call that waits for a connection that there may be one.
    pub(super) fn wake_one(&self) {
        if self.waiting.get() > 0 {
            self.returned.notify_one();
        }
    }

    /// Takes a connection back after a call.
    pub(super) fn give_back(&self, mut conn: Box<h1::Conn>) {
        let mut idle = self.idle.borrow_mut();
        let is_kept = !self.is_retired.get()
            && !self.keep_alive.get().is_zero()
            && idle.len() < MOST_IDLE
            && !self.is_wanted_elsewhere();
        if is_kept {
            conn.rested = self.common.tick.get();
            idle.push(conn);
            self.wake_one();
        }
    }

    fn serves(&self, endpoint: &Endpoint, service: &Service) -> bool {
        self.endpoint.id == endpoint.id
            && self.protocol == endpoint.protocol()
            && (!speaks_tls(self.protocol) || self.tls == service.tls)
    }

    fn retire(&self) {
        self.is_retired.set(true);
        self.idle.borrow_mut().clear();
        self.shelf.clear();
    }

    /// Closes what the instance has closed, after it closed one that was about to be used.
    pub(super) fn doubt(&self) {
        self.idle.borrow_mut().retain(|conn| conn.is_quiet_now());
    }

    /// The connection that was used last and is still open.
    fn take_idle(&self, must_be_open: bool) -> Option<Box<h1::Conn>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut conn) = idle.pop() {
            if conn.is_quiet() && (!must_be_open || conn.is_quiet_now()) {
                return Some(conn);
            }
        }
        None
    }

    fn sweep(&self) {
        let tick = self.common.tick.get();
        let keep_alive = self.keep_alive.get();
        let is_wanted = self.is_wanted_elsewhere();
        let is_kept = |rested: u32| !is_wanted && TICK * tick.wrapping_sub(rested) <= keep_alive;
        self.idle.borrow_mut().retain_mut(|conn| is_kept(conn.rested) && conn.is_quiet());
        self.shelf.sweep(is_kept);
    }

    /// Whether a call of another thread waits for a connection, perhaps to this instance.
    fn is_wanted_elsewhere(&self) -> bool {
        self.common.tls.wanted.load(Relaxed) > 0
            && self.waiting.get() == 0
            && self.endpoint.connections() >= self.most.get()
    }

    async fn connect_h1(
        self: Rc<Self>,
        service: &Service,
        must_be_open: bool,
    ) -> Result<Leased, ConnectError> {
        if self.protocol == Protocol::Tcp {
            let detail = "the service speaks plain TCP, not HTTP";
            return Err(self.error(ConnectErrorKind::Protocol, detail));
        }
        let counted = match self.admit(service, must_be_open).await? {
            Admitted::Idle(conn) => return Ok(Leased::H1 { conn, slot: self }),
            Admitted::New(counted) => counted,
        };
        let settings = self.tls_settings();
        let open = connect::open(&self.endpoint, settings.as_ref(), Alpn::Http1, &self.common.tls);
        let stream = connect::within(service.connect_timeout, self.endpoint.address, open).await?;
        let conn = Box::new(h1::Conn::new(stream, counted));
        Ok(Leased::H1 { conn, slot: self })
    }

    /// Leave to open a connection; or, after a wait, a connection that was given back.
    async fn admit(&self, service: &Service, must_be_open: bool) -> Result<Admitted, ConnectError> {
        let most = service.circuit.connections;
        if let Some(counted) = self.endpoint.connection(most) {
            return Ok(Admitted::New(counted));
        }
        let pending = self.endpoint.pending(service.circuit.pending);
        let _pending = pending.ok_or_else(|| limit_reached(&self.endpoint))?;
        let _waiting = Waiting::begin(self);
        let until = Instant::now() + service.connect_timeout;
        while Instant::now() < until {
            let _woken = tokio::time::timeout(LOOK, self.returned.notified()).await;
            if let Some(conn) = self.take_idle(must_be_open) {
                return Ok(Admitted::Idle(conn));
            }
            if let Some(counted) = self.endpoint.connection(most) {
                return Ok(Admitted::New(counted));
            }
        }
        Err(limit_reached(&self.endpoint))
    }

    /// Room on an HTTP/2 connection, for which one is opened, or another call's end waited for.
    async fn connect_h2(self: Rc<Self>, service: &Service) -> Result<h2::Ticket, ConnectError> {
        let until = Instant::now() + service.connect_timeout;
        let mut queued = None;
        loop {
            if let Some(ticket) = h2::Shelf::take(&self) {
                return Ok(ticket);
            }
            if Instant::now() >= until {
                // Others took the room that there was, or nothing became free.
                return Err(limit_reached(&self.endpoint));
            }
            if let Some(opened) = h2::Shelf::grow(&self, service).await {
                opened?;
                continue;
            }
            if queued.is_none() {
                let pending = self.endpoint.pending(service.circuit.pending);
                let pending = pending.ok_or_else(|| limit_reached(&self.endpoint))?;
                queued = Some((pending, Waiting::begin(&self)));
            }
            let _woken = tokio::time::timeout(LOOK, self.returned.notified()).await;
        }
    }

    fn is_h2(&self) -> bool {
        matches!(self.protocol, Protocol::H2c | Protocol::H2 | Protocol::Grpc)
    }

    pub(super) fn tls_settings(&self) -> Option<ServiceTls> {
        match self.protocol {
            Protocol::Http | Protocol::H2c | Protocol::Tcp => None,
            Protocol::Https | Protocol::H2 => Some(self.tls.clone().unwrap_or_default()),
            Protocol::Grpc => self.tls.clone(),
        }
    }

    fn error(&self, kind: ConnectErrorKind, detail: &str) -> ConnectError {
        ConnectError::new(kind, self.endpoint.address, detail)
    }
}

enum Admitted {
    New(Connection),
    Idle(Box<h1::Conn>),
}

/// A call that waits, counted here and for all threads.
struct Waiting<'a>(&'a Slot);

impl<'a> Waiting<'a> {
    fn begin(slot: &'a Slot) -> Self {
        slot.waiting.set(slot.waiting.get() + 1);
        slot.common.tls.wanted.fetch_add(1, Relaxed);
        Self(slot)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.common.tls.wanted.fetch_sub(1, Relaxed);
    }
}

const fn speaks_tls(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Https | Protocol::H2 | Protocol::Grpc)
}

fn limit_reached(endpoint: &Endpoint) -> ConnectError {
    let detail = "as many connections are open as the service allows (circuit.connections)";
    ConnectError::new(ConnectErrorKind::Limit, endpoint.address, detail)
}
