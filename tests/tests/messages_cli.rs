//! `posthouse queues`, `exchanges`, `publish`, `consume`, `purge`, `connections` and `definitions`, as
//! their users run them, with pika as a client beside them.

use posthouse_tests::house::posthouse;
use posthouse_tests::program::{Program, output_of};
use posthouse_tests::{House, python, workspace};
use serde_json::Value;

const ADMIN: &str = "admins-have-this-one";
const OPERATOR: &str = "operators-have-this-one";

fn config() -> String {
    format!(
        "admin:
  address: 127.0.0.1:0
  tokens:
    - {{ name: ada, role: admin, token: {ADMIN} }}
    - {{ name: olga, role: operator, token: {OPERATOR} }}
messages: {{ address: 127.0.0.1:0 }}
"
    )
}

async fn run_as(house: &House, token: &str, arguments: &[&str]) -> (i32, String, String) {
    let admin = format!("http://{}", house.admin());
    let arguments = [arguments, &["--admin", &admin, "--token", token]].concat();
    let (status, out, errors) = posthouse(house.folder(), &arguments).await;
    (status.code().unwrap_or(-1), out, errors)
}

/// The output of a run that ends well.
async fn said(house: &House, arguments: &[&str]) -> String {
    let (code, out, errors) = run_as(house, ADMIN, arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

async fn json(house: &House, arguments: &[&str]) -> Value {
    let out = said(house, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

#[tokio::test]
async fn a_queue_is_declared_filled_looked_at_and_emptied() {
    let house = House::start(&config()).await;
    let (code, _, errors) = run_as(&house, ADMIN, &["publish", "mails", "early"]).await;
    assert!(code == 1 && errors.contains("there is no queue `mails`"), "{errors}");
    said(&house, &["queues", "declare", "mails", "--argument", "x-max-length=10"]).await;
    said(&house, &["exchanges", "declare", "orders", "topic"]).await;
    said(&house, &["queues", "bind", "mails", "orders", "--key", "order.*"]).await;
    let publish = ["publish", "order.placed", "hello", "--exchange", "orders"];
    let more = ["--header", "tries=3", "--property", "message_id=7"];
    said(&house, &[&publish[..], &more].concat()).await;
    said(&house, &["publish", "mails", "second"]).await;
    let queue = json(&house, &["queues", "mails"]).await;
    assert_eq!((&queue["ready"], &queue["durable"]), (&2.into(), &true.into()), "{queue}");
    assert_eq!(queue["bindings"][0]["routing_key"], "order.*", "{queue}");
    assert_eq!(said(&house, &["consume", "mails", "--peek"]).await, "hello\nsecond\n");
    let first = json(&house, &["consume", "mails", "--count", "1"]).await;
    assert_eq!(first["properties"]["headers"]["tries"], 3, "{first}");
    assert_eq!(first["properties"]["message_id"], "7", "{first}");
    assert_eq!(first["properties"]["delivery_mode"], 2, "{first}");
    let purged = json(&house, &["purge", "mails"]).await;
    assert_eq!(purged["messages"], 1);
    assert_eq!(said(&house, &["consume", "mails"]).await, "");
    let gone = said(&house, &["queues", "delete", "mails"]).await;
    assert_eq!(gone, "queue mails is removed with 0 messages\n");
    let (code, _, errors) = run_as(&house, ADMIN, &["queues", "mails"]).await;
    assert!(code == 1 && errors.contains("there is no queue `mails`"), "{errors}");
}

#[tokio::test]
async fn removing_takes_an_admin_and_is_entered() {
    let house = House::start(&config()).await;
    let declare = ["queues", "declare", "mails", "--argument", "x-queue-type=quorum"];
    let (code, out, _) = run_as(&house, OPERATOR, &declare).await;
    assert!(code == 0 && out.contains("one replica"), "{out}");
    for forbidden in [["purge", "mails"], ["definitions", "export"]] {
        let (code, _, errors) = run_as(&house, OPERATOR, &forbidden).await;
        assert!(code == 1 && errors.contains("takes the role `admin`"), "{errors}");
    }
    let again = ["queues", "declare", "mails"];
    let (code, _, errors) = run_as(&house, ADMIN, &again).await;
    assert!(code == 1 && errors.contains("PRECONDITION_FAILED"), "{errors}");
    let audit = json(&house, &["audit"]).await;
    let entries = audit["entries"].as_array().expect("entries");
    let declared =
        |entry: &Value| entry["who"] == "olga" && entry["outcome"] == "queue mails declared";
    assert!(entries.iter().any(declared), "{audit}");
}

#[tokio::test]
async fn a_consumer_is_seen_and_disconnected_and_its_messages_come_again() {
    let house = House::start(&config()).await;
    let script = workspace().join("tests/python/user_consumer.py");
    let mut command = python::script(&script, house.folder(), house.folder());
    command.arg(house.messages().port().to_string());
    let mut consumer = Program::start("consumer", command, house.folder());
    consumer.says("waiting").await;
    said(&house, &["publish", "user_message", "hello"]).await;
    consumer.says("received hello").await;
    let queue = json(&house, &["queues", "user_message"]).await;
    assert_eq!((&queue["unacknowledged"], &queue["ready"]), (&1.into(), &0.into()), "{queue}");
    assert_eq!(queue["consuming"][0]["unacknowledged"], 1, "{queue}");
    let connections = json(&house, &["connections"]).await;
    let connections = connections["connections"].as_array().expect("connections");
    let guests: Vec<&Value> = connections.iter().filter(|one| one["user"] == "guest").collect();
    assert_eq!(guests.len(), 1, "{connections:?}");
    let id = guests[0]["id"].to_string();
    said(&house, &["connections", "close", &id, "--reason", "for a test"]).await;
    let taken = json(&house, &["consume", "user_message", "--follow", "--count", "1"]).await;
    assert_eq!((&taken["redelivered"], &taken["payload"]), (&true.into(), &"hello".into()));
}

#[tokio::test]
async fn definitions_move_from_one_house_to_another() {
    let one = House::start(&config()).await;
    said(&one, &["exchanges", "declare", "orders", "fanout"]).await;
    said(&one, &["queues", "declare", "mails"]).await;
    said(&one, &["queues", "bind", "mails", "orders"]).await;
    let exported = said(&one, &["definitions", "export"]).await;
    let other = House::start(&config()).await;
    let file = other.folder().join("definitions.json");
    std::fs::write(&file, &exported).expect("a file");
    let imported = json(&other, &["definitions", "import", "definitions.json"]).await;
    assert_eq!(imported["taken"]["queues"], 1, "{imported}");
    assert_eq!(said(&other, &["definitions", "export"]).await, exported);
    let publish = ["publish", "", "to all", "--exchange", "orders"];
    said(&other, &publish).await;
    assert_eq!(said(&other, &["consume", "mails"]).await, "to all\n");
    let file = other.folder().join("more.json");
    let more = r#"{ "policies": [{}], "queues": [{ "name": "mails", "vhost": "/" }] }"#;
    std::fs::write(&file, more).expect("a file");
    let (code, out, errors) = run_as(&other, ADMIN, &["definitions", "import", "more.json"]).await;
    assert!(code == 1 && errors.contains("1 definitions were refused"), "{errors}");
    assert!(out.contains("refused: queues mails: PRECONDITION_FAILED"), "{out}");
    assert!(out.contains("1 policies have no meaning here"), "{out}");
}

/// What a RabbitMQ 3.10 has exported, with what is different in older ones.
#[tokio::test]
async fn what_rabbitmq_exports_is_taken() {
    let house = House::start(&config()).await;
    let text = r#"{
      "rabbit_version": "3.10.8", "rabbitmq_version": "3.10.8", "product_name": "RabbitMQ",
      "users": [{ "name": "celery", "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
                  "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": [], "limits": {} }],
      "vhosts": [{ "name": "/" }, { "name": "work" }],
      "permissions": [{ "user": "celery", "vhost": "work", "configure": ".*", "write": ".*", "read": ".*" }],
      "topic_permissions": [], "parameters": [], "policies": [],
      "global_parameters": [{ "name": "internal_cluster_id", "value": "rabbitmq-cluster-id-x" }],
      "queues": [{ "name": "celery", "vhost": "work", "durable": true, "auto_delete": false,
                   "arguments": { "x-message-ttl": 60000, "x-queue-type": "classic" } }],
      "exchanges": [{ "name": "tasks", "vhost": "work", "type": "direct", "durable": true,
                      "auto_delete": false, "internal": false, "arguments": {} }],
      "bindings": [{ "source": "tasks", "vhost": "work", "destination": "celery",
                     "destination_type": "queue", "routing_key": "celery", "arguments": {} }] }"#;
    std::fs::write(house.folder().join("rabbit.json"), text).expect("a file");
    let imported = json(&house, &["definitions", "import", "rabbit.json"]).await;
    assert_eq!(imported["refused"], Value::Array(Vec::new()), "{imported}");
    assert_eq!(imported["ignored"]["global_parameters"], 1, "{imported}");
    // The password that RabbitMQ's documentation hashes so.
    let script = "import pika, sys
credentials = pika.PlainCredentials('celery', 'test12')
parameters = pika.ConnectionParameters('127.0.0.1', int(sys.argv[1]), 'work', credentials)
channel = pika.BlockingConnection(parameters).channel()
channel.confirm_delivery()
channel.basic_publish('tasks', 'celery', b'work', mandatory=True)
print('ok')
";
    let file = house.folder().join("celery.py");
    std::fs::write(&file, script).expect("a script");
    let mut command = python::script(&file, house.folder(), house.folder());
    command.arg(house.messages().port().to_string());
    assert_eq!(output_of(command).await.trim(), "ok");
    assert_eq!(said(&house, &["consume", "celery", "--vhost", "work"]).await, "work\n");
}
