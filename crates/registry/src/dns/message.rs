//! Bytes to bytes: a query as it came, the answer as it goes. What is malformed is told so and costs
//! next to nothing; what does not fit is left out and said to be (TC), so that the asker comes again
//! over TCP.

use fastrand::Rng;
use hickory_proto::op::{
    Edns, EdnsFlags, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
    emit_message_parts,
};
use hickory_proto::rr::{Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;

use super::zone::{Answer, Reply, Zone};
use crate::state::State;

/// The longest answer over UDP, however much the asker could take: longer ones are cut into pieces
/// on their way, and pieces get lost.
pub const MAX_UDP: u16 = 1232;

/// The longest answer over UDP to who does not say how much it can take (RFC 1035 §4.2.1).
const PLAIN_UDP: u16 = 512;

/// The longest query that is read; a question with options is a tenth of it.
pub(super) const MAX_QUERY: usize = 4096;

/// The length of a header.
const HEADER: usize = 12;

/// How a query came, and its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One packet each way.
    Udp,
    /// A connection.
    Tcp,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) bytes: Vec<u8>,
    /// What was asked for, as far as that could be read.
    pub(super) kind: Option<RecordType>,
    pub(super) code: ResponseCode,
    pub(super) truncated: bool,
}

impl Zone {
    /// Answers a query from `state`; nothing when there is nobody to answer: it is no query, or too
    /// short to say which one it is.
    #[must_use]
    pub fn answer(
        &self,
        state: &State,
        query: &[u8],
        transport: Transport,
        rng: &mut Rng,
    ) -> Option<Vec<u8>> {
        let query = match read(query)? {
            Ok(query) => query,
            Err(answered) => return Some(answered.bytes),
        };
        let (reply, _) = self.look_up(state, &query.question, rng);
        Some(self.write(&query, &reply, transport).bytes)
    }

    /// Writes the answer to a query: as much of it as may be and fits.
    pub(super) fn write(&self, asked: &Asking, reply: &Reply, transport: Transport) -> Answered {
        let (allowed, space) = match transport {
            Transport::Tcp => (self.max_answers, u16::MAX),
            Transport::Udp => (self.max_udp_answers.min(self.max_answers), asked.udp_space()),
        };
        let mut metadata = Metadata::response_from_request(&asked.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative =
            matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain);
        let whole = reply.answers.len().min(self.max_answers);
        let answers = &reply.answers[..reply.answers.len().min(allowed)];
        metadata.truncation = answers.len() < whole;
        let draft = Draft { metadata, asked, authority: reply.authority.as_ref(), space };
        let bytes = match draft.write(answers, answers) {
            Some(bytes) => bytes,
            None => draft.write_what_fits(answers),
        };
        let truncated = bytes.get(2).is_some_and(|flags| flags & 0b10 != 0);
        Answered { bytes, kind: Some(asked.question.query_type), code: reply.code, truncated }
    }
}

/// A query that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) question: Query,
    metadata: Metadata,
    edns: Option<Edns>,
}

impl Asking {
    fn udp_space(&self) -> u16 {
        match &self.edns {
            Some(edns) => edns.max_payload().clamp(PLAIN_UDP, MAX_UDP),
            None => PLAIN_UDP,
        }
    }
}

/// Reads a query; what cannot be is answered at once. Nothing is to be said to what is too short for
/// a header, or is itself an answer: two servers would go on answering each other.
pub(super) fn read(bytes: &[u8]) -> Option<Result<Asking, Answered>> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    Some(understand(bytes, header))
}

fn understand(bytes: &[u8], header: &[u8; HEADER]) -> Result<Asking, Answered> {
    let fault = |code| Err(Answered::fault(header, code));
    let operation = OpCode::from_u8((header[2] >> 3) & 0x0f);
    if operation != OpCode::Query {
        return fault(ResponseCode::NotImp);
    }
    // Looked at before anything is read, because the reader makes room for as many as are announced.
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if questions != 1 || bytes.len() > MAX_QUERY {
        return fault(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else { return fault(ResponseCode::FormErr) };
    let Some(question) = message.queries.pop() else { return fault(ResponseCode::FormErr) };
    let asking = Asking { question, metadata: message.metadata, edns: message.edns };
    let refusal = |code| {
        let mut metadata = Metadata::response_from_request(&asking.metadata);
        metadata.response_code = code;
        let draft = Draft { metadata, asked: &asking, authority: None, space: PLAIN_UDP };
        let bytes = draft.write_what_fits(&[]);
        Err(Answered { bytes, kind: Some(asking.question.query_type), code, truncated: false })
    };
    if asking.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refusal(ResponseCode::BADVERS);
    }
    // These only ever go with a question.
    if matches!(asking.question.query_type, RecordType::OPT | RecordType::TSIG) {
        return refusal(ResponseCode::FormErr);
    }
    Ok(asking)
}

impl Answered {
    /// An answer to what was not understood: its header, turned round.
    fn fault(header: &[u8; HEADER], code: ResponseCode) -> Self {
        const RESPONSE: u8 = 0x80;
        const OPERATION_AND_RECURSION_DESIRED: u8 = 0b0111_1001;
        let mut bytes = vec![0; HEADER];
        bytes[..2].copy_from_slice(&header[..2]);
        bytes[2] = RESPONSE | (header[2] & OPERATION_AND_RECURSION_DESIRED);
        bytes[3] = code.low();
        Self { bytes, kind: None, code, truncated: false }
    }
}

/// An answer but for its records.
struct Draft<'a> {
    metadata: Metadata,
    asked: &'a Asking,
    authority: Option<&'a Record>,
    space: u16,
}

impl Draft<'_> {
    /// The answer with all of these records, and those that go along with `along`; nothing if they
    /// do not fit.
    fn write(&self, answers: &[Answer], along: &[Answer]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::from(PLAIN_UDP));
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(self.space);
        let edns = self.asked.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            let EdnsFlags { dnssec_ok, .. } = *asked.flags();
            edns.set_max_payload(MAX_UDP).set_dnssec_ok(dnssec_ok);
            edns
        });
        let written = emit_message_parts(
            &self.metadata,
            &mut std::iter::once(&self.asked.question),
            &mut answers.iter().map(|answer| &answer.record),
            &mut self.authority.into_iter(),
            &mut along.iter().filter_map(|answer| answer.along.as_ref()),
            edns.as_ref(),
            None,
            &mut encoder,
        );
        let fits = written.is_ok_and(|header| {
            // What does not fit is left out by the writer, which says so where it is not yet said.
            let along = along.iter().filter(|answer| answer.along.is_some()).count();
            let others = along + usize::from(edns.is_some());
            header.metadata.truncation == self.metadata.truncation
                && usize::from(header.counts.answers) == answers.len()
                && usize::from(header.counts.additionals) == others
        });
        fits.then_some(bytes)
    }

    /// The answer with as many records as fit. What goes along is left out first, and without a
    /// word: nobody needs it (RFC 2181 §9).
    fn write_what_fits(mut self, answers: &[Answer]) -> Vec<u8> {
        if self.write(answers, &[]).is_some() {
            let along = most(answers.len(), |count| self.write(answers, &answers[..count]));
            return along.unwrap_or_default();
        }
        self.metadata.truncation = true;
        let fitting = most(answers.len(), |count| self.write(&answers[..count], &[]));
        fitting.unwrap_or_else(|| {
            // Not even the question fits: the space is at least 512 bytes, so this is a record that
            // cannot be written at all.
            tracing::error!("an answer to {} cannot be written", self.asked.question);
            let code = ResponseCode::ServFail;
            let id = self.metadata.id.to_be_bytes();
            let header = [id[0], id[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            debug_assert_eq!(self.metadata.message_type, MessageType::Response);
            Answered::fault(&header, code).bytes
        })
    }
}

/// What `make` makes of the largest count, up to `limit`, of which it makes anything. If it makes
/// something of a count, it does of every smaller one.
fn most<T>(limit: usize, make: impl Fn(usize) -> Option<T>) -> Option<T> {
    let (mut best, mut low, mut high) = (make(0)?, 0, limit);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match make(middle) {
            Some(made) => (best, low) = (made, middle),
            None => high = middle - 1,
        }
    }
    Some(best)
}
