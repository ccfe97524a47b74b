//! The DNS interface, over its sockets.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use posthouse_registry::{Level, RawRules, RawToken, RawTokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::client::{DEADLINE, House};

impl House {
    fn dns(&self) -> SocketAddr {
        self.registry.dns_address().expect("it is on by default")
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        over_udp(self.dns(), &query(name, kind)).await
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

async fn packet(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let exchange = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.connect(to).await.expect("connected");
        socket.send(bytes).await.expect("sent");
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer).await.expect("an answer");
        buffer.truncate(length);
        buffer
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}

async fn over_udp(to: SocketAddr, query: &Message) -> Message {
    let answer = packet(to, &query.to_vec().expect("a query")).await;
    let answer = Message::from_vec(&answer).expect("a message");
    assert_eq!(answer.id, query.id);
    answer
}

async fn over_tcp(stream: &mut TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
    let exchange = async {
        // It may have been closed meanwhile, which the read tells.
        let _closed = stream.write_all(&[&length[..], bytes].concat()).await;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.ok()?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}

fn addresses(records: &[Record]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        records.iter().filter_map(|record| record.data.ip_addr()).collect();
    addresses.sort_unstable();
    addresses
}

fn text(records: &[Record]) -> Vec<String> {
    let mut text: Vec<String> =
        records.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    text.sort_unstable();
    text
}

/// Two instances with addresses of their own, one of which has a tag.
async fn with_web() -> House {
    let house = House::new().await;
    house
        .register(
            r#"{"ID": "w1", "Name": "web", "Address": "10.0.0.1", "Port": 81, "Tags": ["v1.2"],
                "Weights": {"Passing": 5, "Warning": 2}}"#,
        )
        .await;
    house.register(r#"{"ID": "w2", "Name": "web", "Address": "fd00::2", "Port": 82}"#).await;
    house
}

#[tokio::test]
async fn a_service_has_addresses_and_ports() {
    let house = with_web().await;
    let four = house.ask("web.service.consul.", RecordType::A).await;
    assert_eq!(text(&four.answers), ["web.service.consul. 10.0.0.1"]);
    assert!(four.metadata.authoritative && !four.metadata.truncation);
    assert_eq!(four.answers[0].ttl, 0);
    let six = house.ask("WEB.service.DC1.consul.", RecordType::AAAA).await;
    assert_eq!(text(&six.answers), ["WEB.service.DC1.consul. fd00::2"]);
    let ports = house.ask("web.service.consul.", RecordType::SRV).await;
    let spelled = "fd000000000000000000000000000002.addr.dc1.consul.";
    assert_eq!(
        text(&ports.answers),
        [
            format!("web.service.consul. 1 1 82 {spelled}"),
            "web.service.consul. 1 5 81 0a000001.addr.dc1.consul.".to_owned(),
        ]
    );
    assert_eq!(
        text(&ports.additionals),
        ["0a000001.addr.dc1.consul. 10.0.0.1".to_owned(), format!("{spelled} fd00::2")]
    );
    let spelled = house.ask(spelled, RecordType::AAAA).await;
    assert_eq!(addresses(&spelled.answers), ["fd00::2".parse::<IpAddr>().expect("an address")]);
    let all = house.ask("web.service.consul.", RecordType::ANY).await;
    assert_eq!(all.answers.len(), 4, "{all}");
}

#[tokio::test]
async fn tags_select() {
    let house = with_web().await;
    for name in [
        "v1.2.web.service.consul.",
        "V1.2.Web.Service.Consul.",
        "_web._v1\\.2.service.consul.",
        "_web._v1\\.2.service.dc1.consul.",
    ] {
        let found = house.ask(name, RecordType::SRV).await;
        assert_eq!(found.answers.len(), 1, "{name}: {found}");
    }
    for name in ["_web._tcp.service.consul.", "_web._udp.service.consul."] {
        assert_eq!(house.ask(name, RecordType::SRV).await.answers.len(), 2, "{name}");
    }
    let none = house.ask("v2.web.service.consul.", RecordType::SRV).await;
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn critical_instances_are_left_out_and_warning_ones_are_not() {
    let house = House::new().await;
    for (id, status) in [("a", "passing"), ("b", "warning"), ("c", "critical")] {
        let port = id.as_bytes()[0];
        let body = format!(
            r#"{{"ID": "{id}", "Name": "web", "Port": {port}, "Weights": {{"Passing": 9, "Warning": 3}},
                 "Check": {{"TTL": "1h", "Status": "{status}"}}}}"#
        );
        house.register(&body).await;
    }
    let found = house.ask("web.service.consul.", RecordType::SRV).await;
    let node = "posthouse-1.node.dc1.consul.";
    assert_eq!(
        text(&found.answers),
        [
            format!("web.service.consul. 1 3 98 {node}"),
            format!("web.service.consul. 1 9 97 {node}")
        ]
    );
    // Both are on one node, whose address is told.
    let found = house.ask("web.service.consul.", RecordType::A).await;
    assert_eq!(text(&found.answers), ["web.service.consul. 127.0.0.1"]);
    for id in ["a", "b"] {
        house.put(&format!("/v1/agent/check/fail/service:{id}"), "").await;
    }
    let none = house.ask("web.service.consul.", RecordType::A).await;
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn what_is_not_there_is_denied_for_now_only() {
    let house = with_web().await;
    for (name, kind, code) in [
        ("gone.service.consul.", RecordType::A, ResponseCode::NXDomain),
        ("gone.node.consul.", RecordType::A, ResponseCode::NXDomain),
        ("nonsense.consul.", RecordType::A, ResponseCode::NXDomain),
        // There is that name, but nothing of that type.
        ("web.service.consul.", RecordType::MX, ResponseCode::NoError),
        ("service.consul.", RecordType::A, ResponseCode::NoError),
        ("_tcp.service.consul.", RecordType::SRV, ResponseCode::NoError),
    ] {
        let denied = house.ask(name, kind).await;
        assert_eq!(denied.metadata.response_code, code, "{name}");
        assert!(denied.answers.is_empty() && denied.metadata.authoritative, "{name}: {denied}");
        let [authority] = &denied.authorities[..] else { panic!("{name}: {denied}") };
        let RData::SOA(soa) = &authority.data else { panic!("{name}: {denied}") };
        assert_eq!((soa.minimum, authority.ttl), (0, 0), "nobody may keep it");
        assert_eq!(authority.name.to_ascii(), "consul.");
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_refused() {
    let house = with_web().await;
    for name in ["example.com.", "web.service.dc2.consul.", "web.service.consul.example.", "."] {
        let refused = house.ask(name, RecordType::A).await;
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused, "{name}");
        assert!(refused.answers.is_empty() && refused.authorities.is_empty(), "{refused}");
    }
    let transfer = house.ask("consul.", RecordType::AXFR).await;
    assert_eq!(transfer.metadata.response_code, ResponseCode::Refused);
    let mut chaos = query("web.service.consul.", RecordType::A);
    chaos.queries[0].query_class = DNSClass::CH;
    let refused = over_udp(house.dns(), &chaos).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn the_zone_and_its_nodes_have_records() {
    let house = House::new().await;
    let node = r#"{"Node": "Big.Box", "Address": "10.1.1.1",
                   "NodeMeta": {"rack": "7", "long": "LONG"}, "SkipNodeUpdate": false}"#;
    let node = node.replace("LONG", &"x".repeat(300));
    assert_eq!(house.put("/v1/catalog/register", &node).await.status, 200);
    let found = house.ask("big.box.node.consul.", RecordType::A).await;
    assert_eq!(text(&found.answers), ["big.box.node.consul. 10.1.1.1"]);
    let told = house.ask("Big.Box.node.dc1.consul.", RecordType::TXT).await;
    let strings = |record: &Record| match &record.data {
        RData::TXT(text) => text.txt_data.concat(),
        other => panic!("{other}"),
    };
    let mut told: Vec<Vec<u8>> = told.answers.iter().map(strings).collect();
    told.sort_unstable();
    let long = format!("long={}", "x".repeat(300));
    assert_eq!(told, [long.into_bytes(), b"rack=7".to_vec()]);

    let zone = house.ask("consul.", RecordType::NS).await;
    assert_eq!(text(&zone.answers), ["consul. posthouse-1.node.dc1.consul."]);
    assert_eq!(text(&zone.additionals), ["posthouse-1.node.dc1.consul. 127.0.0.1"]);
    let soa = house.ask("consul.", RecordType::SOA).await;
    assert!(text(&soa.answers)[0].starts_with("consul. ns.consul. hostmaster.consul. "), "{soa}");
    assert_eq!(house.ask("ns.consul.", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn host_names_are_sent_on_to() {
    let house = House::new().await;
    house.register(r#"{"Name": "ext", "Address": "db.example.com", "Port": 5432}"#).await;
    let found = house.ask("ext.service.consul.", RecordType::A).await;
    assert_eq!(text(&found.answers), ["ext.service.consul. db.example.com."]);
    let found = house.ask("ext.service.consul.", RecordType::SRV).await;
    assert_eq!(text(&found.answers), ["ext.service.consul. 1 1 5432 db.example.com."]);
    assert!(found.additionals.is_empty());
    // One of ours is answered for at once; a circle comes to an end.
    house.register(r#"{"Name": "own", "Address": "posthouse-1.node.consul", "Port": 1}"#).await;
    let found = house.ask("own.service.consul.", RecordType::A).await;
    assert_eq!(
        text(&found.answers),
        ["own.service.consul. posthouse-1.node.consul.", "posthouse-1.node.consul. 127.0.0.1"]
    );
    house.register(r#"{"Name": "a", "Address": "b.service.consul", "Port": 1}"#).await;
    house.register(r#"{"Name": "b", "Address": "a.service.consul", "Port": 1}"#).await;
    assert_eq!(house.ask("a.service.consul.", RecordType::A).await.answers.len(), 4);
    // A CNAME tolerates nothing beside it.
    house.register(r#"{"ID": "e2", "Name": "ext", "Address": "10.0.0.9", "Port": 5432}"#).await;
    let found = house.ask("ext.service.consul.", RecordType::A).await;
    assert_eq!(text(&found.answers), ["ext.service.consul. 10.0.0.9"]);
    assert_eq!(house.ask("ext.service.consul.", RecordType::SRV).await.answers.len(), 2);
}

#[tokio::test]
async fn capitals_in_registered_names_do_not_matter() {
    let house = House::new().await;
    house.register(r#"{"ID": "1", "Name": "WebShop", "Port": 1, "Tags": ["Blue"]}"#).await;
    for name in
        ["webshop.service.consul.", "WEBSHOP.service.consul.", "blue.webshop.service.consul."]
    {
        assert_eq!(house.ask(name, RecordType::A).await.answers.len(), 1, "{name}");
    }
    house.put("/v1/agent/service/deregister/1", "").await;
    let gone = house.ask("webshop.service.consul.", RecordType::A).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    house.register(r#"{"ID": "2", "Name": "webSHOP", "Port": 1}"#).await;
    assert_eq!(house.ask("webshop.service.consul.", RecordType::A).await.answers.len(), 1);
}

/// As many instances, each with an address of its own.
#[tokio::test]
async fn what_may_not_be_read_without_a_token_is_not_told() {
    let house = House::with(|raw| {
        let allowed = [("web".to_owned(), Level::Read)].into();
        let nodes = [(String::new(), Level::Read)].into();
        let anonymous = RawRules { service: allowed, node: nodes, ..RawRules::default() };
        let all = [(String::new(), Level::Write)];
        let rules = RawRules { service: all.into(), ..RawRules::default() };
        let secret = Some("all-all-all-all-all".into());
        let token = RawToken { name: "all".into(), secret, rules, ..RawToken::default() };
        raw.tokens = Some(RawTokens { anonymous, named: vec![token], ..RawTokens::default() });
    })
    .await;
    for name in ["web", "db"] {
        let body = format!(r#"{{"Name": "{name}", "Address": "10.0.0.1", "Port": 80}}"#);
        let path = "/v1/agent/service/register?token=all-all-all-all-all";
        assert_eq!(house.put(path, &body).await.status, 200);
    }
    let web = house.ask("web.service.consul.", RecordType::A).await;
    assert_eq!((web.metadata.response_code, web.answers.len()), (ResponseCode::NoError, 1));
    let db = house.ask("db.service.consul.", RecordType::A).await;
    assert_eq!((db.metadata.response_code, db.answers.len()), (ResponseCode::NXDomain, 0));
}

async fn with_many(count: usize, change: impl FnOnce(&mut posthouse_registry::Raw)) -> House {
    let house = House::with(change).await;
    for n in 0..count {
        let (high, low) = (n / 250, n % 250 + 1);
        let body = format!(
            r#"{{"ID": "i{n}", "Name": "many", "Address": "10.0.{high}.{low}", "Port": 80}}"#
        );
        house.register(&body).await;
    }
    house
}

#[tokio::test]
async fn answers_come_in_another_order_each_time() {
    let house = with_many(5, |_| {}).await;
    let mut firsts = std::collections::HashSet::new();
    // All five come first at some time; that they do not within 1000 is a chance of 5 in 10^97.
    for _ in 0..1000 {
        let answer = house.ask("many.service.consul.", RecordType::A).await;
        assert_eq!(answer.answers.len(), 5);
        firsts.insert(answer.answers[0].data.ip_addr());
        if firsts.len() == 5 {
            return;
        }
    }
    panic!("only {firsts:?} ever come first");
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_and_comes_over_tcp() {
    let house = with_many(300, |_| {}).await;
    let mut query = query("many.service.consul.", RecordType::SRV);
    let plain = packet(house.dns(), &query.to_vec().expect("a query")).await;
    assert!(plain.len() <= 512, "{}", plain.len());
    let plain = Message::from_vec(&plain).expect("a message");
    assert!(plain.metadata.truncation && plain.answers.len() > 5, "{plain}");

    for (announced, most) in [(100, 512), (900, 900), (4096, 1232)] {
        let mut edns = Edns::new();
        edns.set_max_payload(announced);
        query.set_edns(edns);
        let large = packet(house.dns(), &query.to_vec().expect("a query")).await;
        assert!(large.len() <= most && large.len() > most - 100, "{announced}: {}", large.len());
        let large = Message::from_vec(&large).expect("a message");
        assert!(large.metadata.truncation && large.edns.is_some(), "{large}");
    }
    let mut stream = TcpStream::connect(house.dns()).await.expect("connected");
    for _ in 0..2 {
        let whole = over_tcp(&mut stream, &query.to_vec().expect("a query")).await;
        let whole = Message::from_vec(&whole.expect("an answer")).expect("a message");
        assert!(!whole.metadata.truncation);
        assert_eq!((whole.answers.len(), whole.additionals.len()), (300, 300));
    }
}

#[tokio::test]
async fn what_goes_along_is_left_out_first() {
    // Fourteen targets fit into a packet, with their addresses they do not.
    let house = with_many(10, |_| {}).await;
    let found = house.ask("many.service.consul.", RecordType::SRV).await;
    assert!(!found.metadata.truncation, "{found}");
    assert_eq!(found.answers.len(), 10);
    assert!(found.additionals.len() < 10, "{found}");
}

#[tokio::test]
async fn the_number_of_answers_is_limited() {
    let house = with_many(20, |raw| {
        raw.limits.dns_answers = 10;
        raw.limits.dns_udp_answers = 3;
    })
    .await;
    let found = house.ask("many.service.consul.", RecordType::A).await;
    assert_eq!((found.answers.len(), found.metadata.truncation), (3, true));
    let mut stream = TcpStream::connect(house.dns()).await.expect("connected");
    let query = query("many.service.consul.", RecordType::A).to_vec().expect("a query");
    let found = over_tcp(&mut stream, &query).await.expect("an answer");
    let found = Message::from_vec(&found).expect("a message");
    assert_eq!((found.answers.len(), found.metadata.truncation), (10, false));
}

#[tokio::test]
async fn malformed_queries_are_told_so_and_do_no_harm() {
    let house = with_web().await;
    let good = query("web.service.consul.", RecordType::A).to_vec().expect("a query");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    for (what, bytes, code) in [
        ("a cut question", with(&|b| b.truncate(20)), ResponseCode::FormErr),
        ("only a header", with(&|b| b.truncate(12)), ResponseCode::FormErr),
        ("no question", with(&|b| b[5] = 0), ResponseCode::FormErr),
        ("many questions", with(&|b| (b[4], b[5]) = (0xff, 0xff)), ResponseCode::FormErr),
        ("a name in itself", with(&|b| (b[12], b[13]) = (0xc0, 12)), ResponseCode::FormErr),
        ("a forward pointer", with(&|b| (b[12], b[13]) = (0xc0, 0xff)), ResponseCode::FormErr),
        ("too long", with(&|b| b.extend([0; 5000])), ResponseCode::FormErr),
        ("records that are not there", with(&|b| b[7] = 9), ResponseCode::FormErr),
        ("a change", with(&|b| b[2] = 5 << 3), ResponseCode::NotImp),
        ("an unknown operation", with(&|b| b[2] = 15 << 3), ResponseCode::NotImp),
    ] {
        let answer = packet(house.dns(), &bytes).await;
        assert_eq!(answer[..2], bytes[..2], "{what}");
        let answer = Message::from_vec(&answer).expect(what);
        assert_eq!(answer.metadata.response_code, code, "{what}");
    }
    let mut later = query("web.service.consul.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    later.set_edns(edns);
    let answer = over_udp(house.dns(), &later).await;
    // Both names of 16 (RFC 6895 §2.3).
    assert!(
        matches!(answer.metadata.response_code, ResponseCode::BADVERS | ResponseCode::BADSIG),
        "{answer}"
    );
    // Answers are not answered, nor what has no number. The next query gets the next answer.
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(house.dns()).await.expect("connected");
    for silent in [&with(&|b| b[2] |= 0x80)[..], b"", b"\0\x01\x02", &[0xff; 11]] {
        socket.send(silent).await.expect("sent");
    }
    let last = with(&|b| (b[0], b[1]) = (0xab, 0xcd));
    socket.send(&last).await.expect("sent");
    let mut buffer = [0; 512];
    let received = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer)).await;
    received.expect("in time").expect("an answer");
    assert_eq!(buffer[..2], [0xab, 0xcd]);
}

#[tokio::test]
async fn connections_are_limited_and_not_waited_for() {
    let house = House::with(|raw| {
        raw.limits.dns_connections = 1;
        raw.limits.dns_timeout = posthouse_base::config::Span(DEADLINE);
    })
    .await;
    let query = query("posthouse-1.node.consul.", RecordType::A).to_vec().expect("a query");
    let mut first = TcpStream::connect(house.dns()).await.expect("connected");
    assert!(over_tcp(&mut first, &query).await.is_some());
    let mut second = TcpStream::connect(house.dns()).await.expect("connected");
    assert!(over_tcp(&mut second, &query).await.is_none(), "one too many");
    drop(first);
    let free = async {
        loop {
            let mut third = TcpStream::connect(house.dns()).await.expect("connected");
            if over_tcp(&mut third, &query).await.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, free).await.expect("the place is free again");

    let house = House::with(|raw| {
        raw.limits.dns_timeout = posthouse_base::config::Span(std::time::Duration::from_millis(20));
    })
    .await;
    let mut slow = TcpStream::connect(house.dns()).await.expect("connected");
    slow.write_all(&[0, 40, 1]).await.expect("sent");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest)).await;
    assert!(closed.expect("in time").is_ok() && rest.is_empty());
}

#[tokio::test]
async fn the_domain_and_how_long_answers_may_be_kept_can_be_set() {
    let house = House::with(|raw| {
        raw.domain = "Svc.Example".into();
        raw.datacenter = "east".into();
        raw.dns_ttl = posthouse_base::config::Span(std::time::Duration::from_secs(7));
    })
    .await;
    house.register(r#"{"Name": "web", "Port": 1}"#).await;
    let found = house.ask("web.service.east.svc.example.", RecordType::SRV).await;
    assert_eq!(
        text(&found.answers),
        ["web.service.east.svc.example. 1 1 1 posthouse-1.node.east.svc.example."]
    );
    assert_eq!(found.answers[0].ttl, 7);
    let refused = house.ask("web.service.consul.", RecordType::A).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    let off = House::with(|raw| raw.dns = Some("off".into())).await;
    assert_eq!(off.registry.dns_address(), None);
}

#[tokio::test]
async fn queries_are_counted() {
    let house = with_web().await;
    house.ask("web.service.consul.", RecordType::A).await;
    house.ask("gone.service.consul.", RecordType::SRV).await;
    house.ask("web.service.consul.", RecordType::Unknown(4711)).await;
    let mut notify = query("consul.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    over_udp(house.dns(), &notify).await;
    let metrics = house.metrics();
    for line in [
        r#"posthouse_registry_dns_queries_total{type="A",code="NOERROR",transport="udp"} 1"#,
        r#"posthouse_registry_dns_queries_total{type="SRV",code="NXDOMAIN",transport="udp"} 1"#,
        r#"posthouse_registry_dns_queries_total{type="other",code="NOERROR",transport="udp"} 1"#,
        r#"posthouse_registry_dns_queries_total{type="none",code="NOTIMP",transport="udp"} 1"#,
        r#"posthouse_registry_dns_query_duration_seconds_count{transport="udp"} 4"#,
        "posthouse_registry_dns_connections 0",
    ] {
        assert!(metrics.lines().any(|is| is == line), "no `{line}` in:\n{metrics}");
    }
}
