//! Growing to a RabbitMQ: clients keep their address and reach it through ours, what the house itself
//! publishes and takes it does there, and what was queued here moves over while both run. Against a
//! real RabbitMQ, and with a client that nobody here wrote (lapin).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use http_body_util::Full;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use posthouse_tests::backend::{Backend, Seen};
use posthouse_tests::house::{command_in, posthouse};
use posthouse_tests::program::{Program, run_within};
use posthouse_tests::rabbitmq::Rabbitmq;
use posthouse_tests::wait::{ensure, eventually, eventually_within};
use posthouse_tests::{House, client, free_port};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const EMBEDDED: &str = "
admin: { address: 127.0.0.1:0 }
messages: { address: 127.0.0.1:0 }
";

fn grown(engine: &str) -> String {
    format!(
        "
admin: {{ address: 127.0.0.1:0 }}
registry: {{ address: 127.0.0.1:0 }}
messages:
  engine: {engine}
  address: 127.0.0.1:0
  http: {{ address: 127.0.0.1:0 }}
  users:
    - {{ name: shop, password: secret }}
    - {{ name: reader, password: secret, write: ^$ }}
  subscriptions:
    mails: {{ queue: mails, service: mailer, path: /in, backoff: {{ first: 20ms, most: 100ms }} }}
"
    )
}

fn url(broker: SocketAddr) -> String {
    format!("amqp://guest:guest@{broker}/%2f")
}

async fn open(broker: SocketAddr) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(&url(broker), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

async fn channel(broker: SocketAddr) -> (Connection, Channel) {
    open(broker).await.expect("a channel")
}

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) {
    let durable = QueueDeclareOptions::durable();
    channel.queue_declare(queue.into(), durable, arguments).await.expect("declared");
}

/// Takes the first message of a queue: its body, by what exchange and key it came, and its properties.
async fn get(channel: &Channel, queue: &str) -> Option<(String, String, BasicProperties)> {
    let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("an answer");
    let delivery = got?.delivery;
    delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
    let body = String::from_utf8(delivery.data.to_vec()).expect("a text");
    Some((body, delivery.routing_key.to_string(), delivery.properties))
}

async fn all(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some((body, ..)) = get(channel, queue).await {
        bodies.push(body);
    }
    bodies
}

/// Publishes so many messages, `0` and following, and waits until all are confirmed.
async fn fill(channel: &Channel, exchange: &str, key: &str, count: u32) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let mut confirms = Vec::new();
    for number in 0..count {
        let mut headers = FieldTable::default();
        headers.insert("number".into(), AMQPValue::LongUInt(number));
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(format!("m{number}").into())
            .with_headers(headers);
        let (options, body) = (BasicPublishOptions::default(), number.to_string());
        let publish = channel.basic_publish(
            exchange.into(),
            key.into(),
            options,
            body.as_bytes(),
            properties,
        );
        confirms.push(publish.await.expect("sent"));
    }
    for confirm in confirms {
        assert!(confirm.await.expect("an answer").is_ack());
    }
}

async fn post(house: &House, user: &str, path: &str, body: &'static str) -> Response<Bytes> {
    let mut request = client::request(Method::POST, "localhost", path, body);
    let credentials = format!("Basic {}", STANDARD.encode(user));
    let value = HeaderValue::from_str(&credentials).expect("a value");
    request.headers_mut().insert(header::AUTHORIZATION, value);
    client::send(house.messages_http(), request).await.expect("an answer")
}

/// Waits until the house has been let in by its engine.
async fn is_grown(house: &House) {
    eventually("the engine to let us in", || async {
        let all = client::get_json(house.admin(), "/api/v1/messages").await;
        let all = all.map_err(|error| error.to_string())?;
        ensure(all["engine"]["reachable"] == true, || all.to_string())
    })
    .await;
}

async fn drain(house: &House, more: &[&str]) -> (i32, Value, String) {
    let admin = format!("http://{}", house.admin());
    let mut command = command_in(house.folder());
    command.args(["drain", "-o", "json", "--admin", &admin]).args(more);
    let (status, out, errors) = run_within(command, Duration::from_secs(120)).await;
    let out = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}: {errors}"));
    (status.code().unwrap_or(-1), out, errors)
}

#[tokio::test]
async fn clients_the_door_delays_and_subscriptions_use_the_engine() {
    let rabbitmq = Rabbitmq::start().await;
    let house = House::start(&grown(&url(rabbitmq.address()))).await;
    is_grown(&house).await;
    let (_ours, through) = channel(house.messages()).await;
    declare(&through, "orders", FieldTable::default()).await;
    fill(&through, "", "orders", 1).await;
    let (_theirs, direct) = channel(rabbitmq.address()).await;
    assert_eq!(all(&direct, "orders").await, ["0"]);

    let orders = "/api/v1/queues/orders/messages";
    assert_eq!(post(&house, "shop:secret", orders, "by http").await.status(), 202);
    assert_eq!(all(&direct, "orders").await, ["by http"]);
    assert_eq!(post(&house, "reader:secret", orders, "no").await.status(), 403);
    let nowhere = post(&house, "shop:secret", "/api/v1/queues/nowhere/messages", "no").await;
    assert_eq!(nowhere.status(), 404);
    let unknown = post(&house, "shop:secret", "/api/v1/exchanges/nowhere/messages", "no").await;
    assert_eq!(unknown.status(), 404);

    let later = post(&house, "shop:secret", &format!("{orders}?delay=1s"), "late").await;
    assert_eq!(later.status(), 202);
    assert_eq!(all(&direct, "orders").await, [""; 0]);
    eventually("the delayed message", || async {
        let got = all(&direct, "orders").await;
        ensure(got == ["late"], || format!("{got:?}"))
    })
    .await;

    let mailer = Backend::answering(|_: &Seen| {
        Response::builder().status(204).body(Full::default()).expect("a response")
    })
    .await;
    client::register(house.registry(), "mailer", "mailer-1", mailer.address())
        .await
        .expect("it is");
    fill(&direct, "", "mails", 1).await;
    eventually("the call", || async {
        let calls = mailer.requests();
        ensure(calls == 1, || format!("{calls} calls"))
    })
    .await;
    assert_eq!(mailer.seen()[0].header("amqp-message-id"), "m0");

    let admin = format!("http://{}", house.admin());
    let publish = ["publish", "orders", "by hand", "--admin", &admin];
    let (status, _, errors) = posthouse(house.folder(), &publish).await;
    assert!(status.success(), "{errors}");
    let consume = ["consume", "orders", "--admin", &admin];
    assert_eq!(posthouse(house.folder(), &consume).await.1, "by hand\n");
    let (status, _, errors) = posthouse(house.folder(), &["queues", "--admin", &admin]).await;
    assert!(!status.success() && errors.contains("kept by the engine"), "{errors}");
}

/// One connection after the other from `port` to `broker`.
async fn forward(port: u16, broker: SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    loop {
        let (mut from, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let mut to = TcpStream::connect(broker).await.expect("the broker");
            // Whichever side ends it.
            let _either = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_once_and_used_when_it_is() {
    let port = free_port();
    let house = House::start(&grown(&format!("amqp://guest:guest@127.0.0.1:{port}"))).await;
    eventually("word of the engine", || async {
        ensure(house.log().contains("cannot be used"), || house.log())
    })
    .await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(house.messages()).await.expect("our address is there");
        stream.write_all(b"AMQP\0\0\x09\x01").await.expect("sent");
        let mut answer = Vec::new();
        // A reset says the same as an end.
        let _ended = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    let refused = post(&house, "shop:secret", "/api/v1/queues/orders/messages", "x").await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(house.log().matches("cannot be used").count(), 1, "{}", house.log());
    let rabbitmq = Rabbitmq::start().await;
    let forwarding = tokio::spawn(forward(port, rabbitmq.address()));
    let (_connection, through) =
        eventually("a connection through ours", || open(house.messages())).await;
    declare(&through, "orders", FieldTable::default()).await;
    eventually("publishing over HTTP", || async {
        let answer = post(&house, "shop:secret", "/api/v1/queues/orders/messages", "x").await;
        ensure(answer.status() == 202, || format!("{answer:?}"))
    })
    .await;
    assert_eq!(all(&through, "orders").await, ["x"]);
    is_grown(&house).await;
    let metrics = client::get(house.admin(), "localhost", "/metrics").await.expect("metrics");
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    let lines = [
        "posthouse_messages_engine_up 1",
        r#"posthouse_messages_engine_connections_total{outcome="unreachable"} "#,
        r#"posthouse_messages_engine_connections_total{outcome="passed"} "#,
    ];
    assert!(lines.iter().all(|line| metrics.contains(line)), "{metrics}");
    forwarding.abort();
}

#[tokio::test]
async fn a_wrong_password_is_told_and_never_shown() {
    let rabbitmq = Rabbitmq::start().await;
    let engine = format!("amqp://guest:correct-horse@{}", rabbitmq.address());
    let house = House::start(&grown(&engine)).await;
    eventually_within(Duration::from_secs(60), "word of the password", || async {
        let told = house.log().contains("does not let `guest` in");
        ensure(told, || house.log())
    })
    .await;
    assert!(!house.log().contains("horse"), "{}", house.log());
    let all = client::get_json(house.admin(), "/api/v1/messages").await.expect("an answer");
    assert!(!all.to_string().contains("horse") && all["engine"]["error"].is_string(), "{all}");
    // Clients bring their own.
    drop(channel(house.messages()).await);
}

#[tokio::test]
async fn a_drain_does_not_go_in_a_circle() {
    let house = House::start(EMBEDDED).await;
    let (_ours, here) = channel(house.messages()).await;
    declare(&here, "orders", FieldTable::default()).await;
    fill(&here, "", "orders", 3).await;
    let admin = format!("http://{}", house.admin());
    let mut command = command_in(house.folder());
    command.args(["drain", "--admin", &admin, "--to", &url(house.messages())]);
    let (status, _, errors) = run_within(command, Duration::from_secs(60)).await;
    assert!(!status.success() && errors.contains("is this broker itself"), "{errors}");
    assert_eq!(all(&here, "orders").await.len(), 3);
}

#[tokio::test]
async fn what_is_queued_moves_over_in_order_while_both_run() {
    let rabbitmq = Rabbitmq::start().await;
    let house = House::start(EMBEDDED).await;
    let (_ours, here) = channel(house.messages()).await;
    let (_theirs, there) = channel(rabbitmq.address()).await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    here.exchange_declare("news".into(), ExchangeKind::Topic, durable, none())
        .await
        .expect("an exchange");
    for queue in ["orders", "copies", "refused"] {
        declare(&here, queue, none()).await;
    }
    let mut quorum = none();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    declare(&here, "careful", quorum).await;
    let options = QueueBindOptions::default;
    here.queue_bind("copies".into(), "news".into(), "order.*".into(), options(), none())
        .await
        .expect("bound");
    fill(&here, "", "orders", 3000).await;
    fill(&here, "news", "order.placed", 20).await;
    fill(&here, "", "careful", 5).await;
    fill(&here, "", "refused", 2).await;
    let mut other = none();
    other.insert("x-max-length".into(), AMQPValue::LongInt(7));
    declare(&there, "refused", other).await;
    let to = url(rabbitmq.address());

    let (code, plan, _) = drain(&house, &["--to", &to, "--dry-run"]).await;
    assert!(code == 0 && plan["queues"].as_array().is_some_and(|all| all.len() == 4), "{plan}");
    assert!(!plan.to_string().contains("guest"), "{plan}");

    let (code, told, _) = drain(&house, &["--to", &to]).await;
    assert_eq!(code, 1, "{told}");
    let rows = told["queues"].as_array().expect("queues");
    let row = |name: &str| rows.iter().find(|row| row["queue"] == name).expect(name);
    for (name, moved) in [("orders", 3000), ("copies", 20), ("careful", 5)] {
        assert_eq!((&row(name)["moved"], &row(name)["left"]), (&json!(moved), &json!(0)), "{told}");
    }
    let refused = row("refused");
    assert_eq!((&refused["moved"], &refused["left"]), (&json!(0), &json!(2)), "{told}");
    let why = refused["refused"].as_str().expect("why");
    assert!(why.contains("PRECONDITION_FAILED") && why.contains("x-max-length"), "{why}");

    for number in 0..3000 {
        let (body, key, properties) = get(&there, "orders").await.expect("a message");
        assert_eq!((body, &*key), (number.to_string(), "orders"));
        let id = format!("m{number}");
        assert_eq!(properties.message_id().as_ref().map(ToString::to_string), Some(id));
        assert_eq!(*properties.delivery_mode(), Some(2));
        let headers = properties.headers().as_ref().expect("headers");
        assert_eq!(headers.inner().get("number"), Some(&AMQPValue::LongUInt(number)));
    }
    let (first, key, _) = get(&there, "copies").await.expect("a message");
    assert_eq!((&*first, &*key), ("0", "order.placed"), "its routing key is kept");
    assert_eq!(all(&there, "copies").await.len(), 19);
    assert_eq!(all(&there, "careful").await, ["0", "1", "2", "3", "4"]);
    // The binding is there too.
    fill(&there, "news", "order.cancelled", 1).await;
    assert_eq!(all(&there, "copies").await, ["0"]);
    assert!(get(&here, "orders").await.is_none(), "nothing is left");
    let (code, told, _) = drain(&house, &["--to", &to, "--queues", "orders,copies"]).await;
    assert!(told["queues"].as_array().is_some_and(|all| all.len() == 2), "{told}");
    assert_eq!((code, told["refused"].as_array().map(Vec::len)), (1, Some(1)), "{told}");
}

#[tokio::test]
async fn a_drain_that_is_killed_loses_nothing_and_goes_on() {
    const COUNT: u32 = 20_000;
    let rabbitmq = Rabbitmq::start().await;
    let mut house = House::start(EMBEDDED).await;
    let (ours, here) = channel(house.messages()).await;
    declare(&here, "orders", FieldTable::default()).await;
    fill(&here, "", "orders", COUNT).await;
    drop((ours, here));
    let to = url(rabbitmq.address());
    let admin = format!("http://{}", house.admin());
    let mut command = command_in(house.folder());
    command.args(["drain", "--to", &to, "--admin", &admin]);
    let mut draining = Program::start("drain", command, house.folder());
    let (_theirs, there) = channel(rabbitmq.address()).await;
    eventually("some to be there", || async {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        // A queue that is not there yet closes the channel.
        let (_connection, look) =
            open(rabbitmq.address()).await.map_err(|error| error.to_string())?;
        let queue = look.queue_declare("orders".into(), passive, FieldTable::default()).await;
        let count = queue.map_err(|error| error.to_string())?.message_count();
        ensure(count > 0, || "nothing yet".to_owned())
    })
    .await;
    house.program().kill().await;
    assert_eq!(draining.wait().await.code(), Some(1), "{}", draining.log());
    assert!(draining.log().contains("nothing is lost"), "{}", draining.log());
    let house = house.restart().await;
    let (code, told, errors) = drain(&house, &["--to", &to]).await;
    assert_eq!((code, &told["queues"][0]["left"]), (0, &json!(0)), "{told} {errors}");
    let moved = told["queues"][0]["moved"].as_u64().expect("a number");
    assert!(moved > 0 && moved < u64::from(COUNT), "it was killed in the middle: {told}");
    let bodies = all(&there, "orders").await;
    let different: BTreeSet<&String> = bodies.iter().collect();
    assert_eq!(different.len(), COUNT as usize, "every one of them, of {} in all", bodies.len());
}
