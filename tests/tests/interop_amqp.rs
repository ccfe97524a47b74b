//! The broker as clients of RabbitMQ see it that nobody here wrote: pika, with the two programs of a
//! team that knows nothing of Posthouse, aio-pika, Celery and amqplib. What is asked is in
//! `tests/python` and `tests/node`.

use std::process::Command;

use posthouse_tests::program::{Program, output_of};
use posthouse_tests::{House, environment, python, workspace};

const CONFIG: &str = "messages: { address: 127.0.0.1:0 }";

fn script(house: &House, name: &str) -> Command {
    let script = workspace().join("tests/python").join(name);
    let mut command = python::script(&script, house.folder(), house.folder());
    command.arg(house.messages().port().to_string());
    command
}

/// One topic's questions to a broker.
async fn ask(house: &House, topic: &str) {
    let mut command = script(house, "pika_calls.py");
    command.arg(topic);
    assert_eq!(output_of(command).await.trim(), "ok", "{topic}");
}

async fn publish(house: &House, text: &str) {
    let mut command = script(house, "user_publisher.py");
    command.arg(text);
    assert_eq!(output_of(command).await.trim(), format!("sent {text}"));
}

async fn consume(house: &House, name: &str) -> Program {
    let mut consumer = Program::start(name, script(house, "user_consumer.py"), house.folder());
    consumer.says("waiting").await;
    consumer
}

#[tokio::test]
async fn what_is_published_before_anybody_declares_goes_nowhere() {
    let house = House::start(CONFIG).await;
    publish(&house, "early").await;
    let mut consumer = consume(&house, "consumer").await;
    publish(&house, "late").await;
    consumer.says("received late").await;
    assert!(!consumer.log().contains("early"), "{}", consumer.log());
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again() {
    let house = House::start(CONFIG).await;
    let mut first = consume(&house, "first").await;
    publish(&house, "hello").await;
    first.says("received hello").await;
    first.kill().await;
    let mut second = consume(&house, "second").await;
    second.says("received again hello").await;
}

#[tokio::test]
async fn what_is_persistent_and_confirmed_survives_a_kill() {
    let mut house = House::start(CONFIG).await;
    ask(&house, "keep").await;
    house.program().kill().await;
    let house = house.restart().await;
    ask(&house, "kept").await;
}

#[tokio::test]
async fn pika_publishes_and_is_confirmed() {
    let house = House::start(CONFIG).await;
    for topic in ["confirms", "large", "transactions"] {
        ask(&house, topic).await;
    }
}

#[tokio::test]
async fn pika_is_given_again_what_it_did_not_acknowledge() {
    ask(&House::start(CONFIG).await, "redelivery").await;
}

#[tokio::test]
async fn pika_routes_by_every_kind_of_exchange() {
    ask(&House::start(CONFIG).await, "routing").await;
}

#[tokio::test]
async fn pika_is_refused_as_rabbitmq_refuses() {
    ask(&House::start(CONFIG).await, "refusals").await;
}

#[tokio::test]
async fn aio_pika_sends_and_receives() {
    let house = House::start(CONFIG).await;
    assert_eq!(output_of(script(&house, "aio_calls.py")).await.trim(), "ok");
}

#[tokio::test]
async fn celery_works() {
    let house = House::start(CONFIG).await;
    let port = house.messages().port().to_string();
    let mut worker = python::tool("celery");
    worker.args(["-A", "celery_tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"]);
    let modules = workspace().join("tests/python");
    worker.current_dir(house.folder()).env("PYTHONPATH", modules).env("PORT", port);
    worker.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut worker = Program::start("worker", worker, house.folder());
    worker.says(" ready.").await;
    assert_eq!(output_of(script(&house, "celery_tasks.py")).await.trim(), "ok");
    assert!(worker.stop().await.success(), "{}", worker.log());
}

#[tokio::test]
async fn amqplib_sends_and_receives() {
    let house = House::start(CONFIG).await;
    let mut command = Command::new("node");
    command
        .arg(workspace().join("tests/node/amqp_calls.cjs"))
        .env("MODULES", environment("POSTHOUSE_TEST_NODE", "test-node").join("node_modules"))
        .env("PORT", house.messages().port().to_string());
    assert_eq!(output_of(command).await.trim(), "ok");
}
