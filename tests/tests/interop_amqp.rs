//! The broker as clients of RabbitMQ see it that nobody here wrote: pika, with the two programs of a
//! team that knows nothing of Posthouse, aio-pika, Celery and amqplib. What is asked is in
//! `tests/python` and `tests/node`. The same is asked of a real RabbitMQ, so that it is the protocol
//! that is tested, and not us.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use posthouse_tests::program::{Program, output_of};
use posthouse_tests::rabbitmq::Rabbitmq;
use posthouse_tests::{House, environment, python, workspace};

const CONFIG: &str = "messages: { address: 127.0.0.1:0 }";

/// Whoever stands behind the port.
enum Broker {
    Posthouse(House),
    Rabbitmq(Rabbitmq),
}

impl Broker {
    async fn posthouse() -> Self {
        Self::Posthouse(House::start(CONFIG).await)
    }

    async fn rabbitmq() -> Self {
        Self::Rabbitmq(Rabbitmq::start().await)
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Posthouse(house) => house.messages(),
            Self::Rabbitmq(rabbitmq) => rabbitmq.address(),
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Posthouse(house) => house.folder(),
            Self::Rabbitmq(rabbitmq) => rabbitmq.folder(),
        }
    }

    async fn kill_and_restart(self) -> Self {
        match self {
            Self::Posthouse(mut house) => {
                house.program().kill().await;
                Self::Posthouse(house.restart().await)
            }
            // One that is killed loses what was declared a moment before.
            Self::Rabbitmq(rabbitmq) => Self::Rabbitmq(rabbitmq.restart().await),
        }
    }

    fn script(&self, name: &str) -> Command {
        let script = workspace().join("tests/python").join(name);
        let mut command = python::script(&script, self.folder(), self.folder());
        command.arg(self.address().port().to_string());
        command
    }

    /// One topic's questions.
    async fn ask(&self, topic: &str) {
        let mut command = self.script("pika_calls.py");
        command.arg(topic);
        assert_eq!(output_of(command).await.trim(), "ok", "{topic}");
    }

    async fn publish(&self, text: &str) {
        let mut command = self.script("user_publisher.py");
        command.arg(text);
        assert_eq!(output_of(command).await.trim(), format!("sent {text}"));
    }

    async fn consume(&self, name: &str) -> Program {
        let mut consumer = Program::start(name, self.script("user_consumer.py"), self.folder());
        consumer.says("waiting").await;
        consumer
    }
}

async fn what_is_published_before_anybody_declares_goes_nowhere(broker: &Broker) {
    broker.publish("early").await;
    let mut consumer = broker.consume("consumer").await;
    broker.publish("late").await;
    consumer.says("received late").await;
    assert!(!consumer.log().contains("early"), "{}", consumer.log());
}

/// Goes on with what the one before has left: its consumer is gone, and did not acknowledge.
async fn what_was_not_acknowledged_comes_again(broker: &Broker) {
    let mut first = broker.consume("first").await;
    broker.publish("hello").await;
    first.says("received hello").await;
    first.kill().await;
    let mut second = broker.consume("second").await;
    second.says("received again hello").await;
}

async fn what_is_persistent_and_confirmed_survives_a_kill(broker: Broker) {
    broker.ask("keep").await;
    broker.kill_and_restart().await.ask("kept").await;
}

async fn aio_pika_sends_and_receives(broker: &Broker) {
    assert_eq!(output_of(broker.script("aio_calls.py")).await.trim(), "ok");
}

async fn celery_works(broker: &Broker) {
    let port = broker.address().port().to_string();
    let mut worker = python::tool("celery");
    worker.args(["-A", "celery_tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"]);
    let modules = workspace().join("tests/python");
    worker.current_dir(broker.folder()).env("PYTHONPATH", modules).env("PORT", port);
    worker.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut worker = Program::start("worker", worker, broker.folder());
    worker.says(" ready.").await;
    assert_eq!(output_of(broker.script("celery_tasks.py")).await.trim(), "ok");
    assert!(worker.stop().await.success(), "{}", worker.log());
}

async fn amqplib_sends_and_receives(broker: &Broker) {
    let mut command = Command::new("node");
    command
        .arg(workspace().join("tests/node/amqp_calls.cjs"))
        .env("MODULES", environment("POSTHOUSE_TEST_NODE", "test-node").join("node_modules"))
        .env("PORT", broker.address().port().to_string());
    assert_eq!(output_of(command).await.trim(), "ok");
}

/// What pika asks, in parts that leave nothing in each other's way.
const PIKA: [&str; 6] = ["confirms", "large", "transactions", "redelivery", "routing", "refusals"];

mod posthouse {
    use super::Broker;

    #[tokio::test]
    async fn what_is_published_before_anybody_declares_goes_nowhere() {
        let broker = Broker::posthouse().await;
        super::what_is_published_before_anybody_declares_goes_nowhere(&broker).await;
    }

    #[tokio::test]
    async fn what_was_not_acknowledged_comes_again() {
        super::what_was_not_acknowledged_comes_again(&Broker::posthouse().await).await;
    }

    #[tokio::test]
    async fn what_is_persistent_and_confirmed_survives_a_kill() {
        let broker = Broker::posthouse().await;
        super::what_is_persistent_and_confirmed_survives_a_kill(broker).await;
    }

    #[tokio::test]
    async fn pika_is_answered_as_it_expects() {
        let broker = Broker::posthouse().await;
        for topic in super::PIKA {
            broker.ask(topic).await;
        }
    }

    #[tokio::test]
    async fn aio_pika_sends_and_receives() {
        super::aio_pika_sends_and_receives(&Broker::posthouse().await).await;
    }

    #[tokio::test]
    async fn celery_works() {
        super::celery_works(&Broker::posthouse().await).await;
    }

    #[tokio::test]
    async fn amqplib_sends_and_receives() {
        super::amqplib_sends_and_receives(&Broker::posthouse().await).await;
    }
}

/// One RabbitMQ is asked several things: it takes long to start.
mod rabbitmq {
    use super::Broker;

    #[tokio::test]
    async fn the_two_programs_and_pika_are_answered_alike() {
        let broker = Broker::rabbitmq().await;
        super::what_is_published_before_anybody_declares_goes_nowhere(&broker).await;
        super::what_was_not_acknowledged_comes_again(&broker).await;
        for topic in super::PIKA {
            broker.ask(topic).await;
        }
    }

    #[tokio::test]
    async fn other_clients_are_answered_alike_and_what_is_kept_is_kept() {
        let broker = Broker::rabbitmq().await;
        super::aio_pika_sends_and_receives(&broker).await;
        super::amqplib_sends_and_receives(&broker).await;
        super::celery_works(&broker).await;
        super::what_is_persistent_and_confirmed_survives_a_kill(broker).await;
    }
}
