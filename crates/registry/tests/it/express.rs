//! Reads of services on connections that stay: as they are answered without the library's server, and
//! where that takes over.

use std::time::Duration;

use posthouse_base::config::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answer, DEADLINE, House};

const WEB: &str = "/v1/health/service/web";

struct Connection(TcpStream);

impl Connection {
    async fn open(house: &House) -> Self {
        Self(TcpStream::connect(house.address()).await.expect("connected"))
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("written");
    }

    async fn receive(&mut self) -> Answer {
        timeout(DEADLINE, self.read()).await.expect("an answer in time")
    }

    async fn read(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8(head).expect("text");
        let status = head[9..12].parse().expect("a status");
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a body");
        answer.body = String::from_utf8(body).expect("text");
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(&get(path)).await;
        self.receive().await
    }

    /// Whether it is closed from the other side, with nothing more to read.
    async fn is_closed(&mut self) -> bool {
        let read = timeout(DEADLINE, self.0.read(&mut [0; 1])).await.expect("closed in time");
        matches!(read, Ok(0) | Err(_))
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: r\r\n\r\n")
}

/// Everything that an answer says but for its date.
fn fields(answer: &Answer) -> Vec<String> {
    let lines = answer.head.lines().filter(|line| !line.starts_with("date: "));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn an_answer_is_the_same_on_either_way() {
    let house = House::new().await;
    house.register(r#"{"Name": "web", "Port": 80}"#).await;
    let mut express = Connection::open(&house).await;
    let mut library = Connection::open(&house).await;
    for (plain, unusual) in [
        ("web", "we%62"),
        ("web?passing", "we%62?passing"),
        ("web?stale", "we%62?stale"),
        ("web?filter=Service.Port==80", "we%62?filter=Service.Port==80"),
        ("none", "non%65"),
        ("web?wait=x&index=1", "we%62?wait=x&index=1"),
        ("web?token=x", "we%62?token=x"),
    ] {
        // The first is written for it, the second was written before.
        for _ in 0..2 {
            let one = express.get(&format!("/v1/health/service/{plain}")).await;
            let other = library.get(&format!("/v1/health/service/{unusual}")).await;
            assert_eq!((fields(&one), &one.body), (fields(&other), &other.body), "{plain}");
            assert!(one.header("date").is_some_and(|date| date.ends_with(" GMT")));
        }
    }
}

#[tokio::test]
async fn a_connection_goes_from_one_to_the_other_and_stays() {
    let house = House::new().await;
    house.register(r#"{"Name": "web"}"#).await;
    let mut connection = Connection::open(&house).await;
    let index = connection.get(WEB).await.index();
    assert_eq!(connection.get("/v1/status/leader").await.status, 200);
    assert_eq!(connection.get(WEB).await.index(), index);
    // Both at once, and a piece of a third.
    let mut connection = Connection::open(&house).await;
    let (first, last) = (get(WEB), get("/v1/agent/self"));
    connection.send(&format!("{first}{first}{}", &last[..10])).await;
    for _ in 0..2 {
        assert_eq!(connection.receive().await.index(), index);
    }
    connection.send(&last[10..]).await;
    assert_eq!(connection.receive().await.status, 200);
}

#[tokio::test]
async fn what_is_asked_while_a_read_waits_is_answered_after_it() {
    let house = House::new().await;
    house.register(r#"{"Name": "web"}"#).await;
    let mut connection = Connection::open(&house).await;
    let index = connection.get(WEB).await.index();
    let waiting = get(&format!("{WEB}?index={index}"));
    connection.send(&waiting).await;
    house.watchers(1).await;
    connection.send(&get("/v1/status/leader")).await;
    house.register(r#"{"Name": "web", "Port": 1}"#).await;
    let told = connection.receive().await;
    assert!(told.index() > index && told.body.contains("\"Port\":1,"), "{told:?}");
    assert_eq!(connection.receive().await.body, format!("\"{}\"", house.address()));
}

#[tokio::test]
async fn whoever_goes_waits_no_longer() {
    let house = House::new().await;
    let mut connection = Connection::open(&house).await;
    let index = connection.get(WEB).await.index();
    connection.send(&get(&format!("{WEB}?index={index}"))).await;
    house.watchers(1).await;
    drop(connection);
    house.watchers(0).await;
    let mut connection = Connection::open(&house).await;
    connection.send(&get(&format!("{WEB}?index={index}"))).await;
    house.watchers(1).await;
    house.registry.close(DEADLINE).await;
    assert_eq!(connection.receive().await.index(), index);
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_closed() {
    let house =
        House::with(|raw| raw.limits.header_timeout = Span(Duration::from_millis(20))).await;
    let mut connection = Connection::open(&house).await;
    assert_eq!(connection.get(WEB).await.status, 200);
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_crowd_is_told_and_asks_again() {
    const CROWD: usize = 100;
    let house = House::new().await;
    house.register(r#"{"Name": "web"}"#).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Connection::open(&house).await);
    }
    let mut index = crowd[0].get(WEB).await.index();
    for port in 1..=3 {
        for connection in &mut crowd {
            connection.send(&get(&format!("{WEB}?index={index}"))).await;
        }
        house.watchers(CROWD).await;
        house.register(&format!(r#"{{"Name": "web", "Port": {port}}}"#)).await;
        let mut last = index;
        for connection in &mut crowd {
            let told = connection.receive().await;
            assert!(told.index() > index && told.body.contains(&format!("\"Port\":{port},")));
            last = told.index();
        }
        index = last;
    }
}

#[tokio::test]
async fn an_engine_is_asked_on_a_connection_that_stays_too() {
    let engine = House::new().await;
    let address = engine.address();
    let house = House::with(|raw| raw.engine = Some(format!("consul://{address}"))).await;
    let mut connection = Connection::open(&house).await;
    assert_eq!(connection.get(WEB).await.body, "[]");
    engine.register(r#"{"Name": "web", "Meta": {"of": "the engine"}}"#).await;
    let (passed, own) = (connection.get(WEB).await, engine.get(WEB).await);
    assert_eq!((passed.index(), &passed.body), (own.index(), &own.body));
}
