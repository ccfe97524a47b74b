//! What must hold for any bytes that come to the DNS interface. The fuzz target and the replay of
//! its corpus call [`holds`].

use hickory_proto::op::{Message, MessageType};
use posthouse_base::config::{Path, Report};
use posthouse_base::time::Timestamp;
use posthouse_registry::dns::{MAX_UDP, Transport, Zone};
use posthouse_registry::state::{
    Command, Index, Instance, Limits, Node, NodeRef, Registration, State, Weights,
};
use posthouse_registry::{Config, Raw};

/// A zone, and a state with a service of forty instances, one of which has a host name.
fn names() -> (Zone, State) {
    let raw = Raw::default();
    let config = Config::check(&raw, &Path::root(), &mut Report::new()).expect("the defaults");
    let node = Node {
        name: "n1".into(),
        id: String::new(),
        address: "10.0.0.1".into(),
        tagged_addresses: [].into(),
        meta: [("rack".to_owned(), "7".repeat(400))].into(),
    };
    let now = Timestamp::default();
    let limits =
        Limits { nodes: 10, instances: 100, checks: 100, keys: 0, key_bytes: 0, sessions: 0 };
    let mut state = State::new(node.clone(), limits, Index::new(1), now);
    for n in 0..40 {
        let address = if n == 0 { "a.example".into() } else { format!("fd00::{n:x}") };
        let instance = Instance {
            id: format!("i{n}").into(),
            service: "web".into(),
            tags: vec!["v1".into()],
            address,
            port: 80,
            meta: [].into(),
            weights: Weights::default(),
            tagged_addresses: [].into(),
            enable_tag_override: false,
        };
        let node = NodeRef::Known("n1".into());
        let registration =
            Registration { node, instance, checks: Vec::new(), replace_checks: false };
        state.handle(Command::Register(Box::new(registration)), now).expect("registered");
    }
    (Zone::new(&config), state)
}

/// Answers `query` both ways and checks that the answer is one.
///
/// # Panics
/// When it is not.
pub fn holds(query: &[u8]) {
    thread_local!(static NAMES: (Zone, State) = names());
    NAMES.with(|(zone, state)| {
        for (transport, most) in
            [(Transport::Udp, usize::from(MAX_UDP)), (Transport::Tcp, usize::from(u16::MAX))]
        {
            let mut rng = fastrand::Rng::with_seed(7);
            let answer = zone.answer(state, query, transport, &mut rng);
            let is_query = query.len() >= 12 && query[2] & 0x80 == 0;
            assert_eq!(answer.is_some(), is_query, "who asks is answered, and nobody else");
            let Some(answer) = answer else { continue };
            assert!(answer.len() <= most, "{} bytes", answer.len());
            let answer = Message::from_vec(&answer).expect("an answer that can be read");
            assert_eq!(answer.metadata.id, u16::from_be_bytes([query[0], query[1]]));
            assert_eq!(answer.metadata.message_type, MessageType::Response);
            if let Ok(query) = Message::from_vec(query)
                && !answer.queries.is_empty()
            {
                assert_eq!(answer.queries, query.queries, "what was asked is said again");
                assert_eq!(answer.edns.is_some(), query.edns.is_some(), "EDNS is answered so");
            }
        }
    });
}
