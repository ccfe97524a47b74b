"""The broker as pika sees it, a client of RabbitMQ that nobody here wrote.

Usage: pika_calls.py PORT TOPIC
"""

import sys
import time

import pika
from pika.exceptions import (ChannelClosedByBroker, ConnectionClosedByBroker, NackError,
                             ProbableAccessDeniedError, ProbableAuthenticationError,
                             UnroutableError)

PORT, TOPIC = int(sys.argv[1]), sys.argv[2]
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def connect(**more):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", PORT, **more))


def take(channel, queue, patience=10):
    """The next message, which may be on its way."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        method, properties, body = channel.basic_get(queue)
        if method is not None:
            return method, properties, body
        time.sleep(0.01)
    raise AssertionError(f"nothing in {queue}")


def refused(code, call, *arguments, **more):
    """A channel is closed for this, with this code."""
    try:
        call(*arguments, **more)
    except ChannelClosedByBroker as closed:
        assert closed.reply_code == code, closed
        return closed.reply_text
    raise AssertionError(f"{code} was expected")


def confirms():
    channel = connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True)
    for number in range(20):
        channel.basic_publish("", "kept", b"%d" % number, PERSISTENT)
    try:
        channel.basic_publish("", "nowhere", b"lost", PERSISTENT, mandatory=True)
        raise AssertionError("it went somewhere")
    except UnroutableError as error:
        [returned] = error.messages
        assert (returned.method.reply_code, returned.body) == (312, b"lost"), returned
    assert channel.queue_declare("kept", passive=True).method.message_count == 20
    for number in range(20):
        method, properties, body = take(channel, "kept")
        assert (body, properties.delivery_mode) == (b"%d" % number, 2)
        channel.basic_ack(method.delivery_tag)
    channel.queue_delete("kept")
    channel.queue_declare("short", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.basic_publish("", "short", b"fits")
    try:
        channel.basic_publish("", "short", b"does not")
        raise AssertionError("it was taken on")
    except NackError:
        pass


def redelivery():
    first = connect()
    channel = first.channel()
    channel.queue_declare("work", durable=True)
    for number in range(5):
        channel.basic_publish("", "work", b"%d" % number, PERSISTENT)
    seen = [next(channel.consume("work")) for _ in range(3)]
    assert [body for _, _, body in seen] == [b"0", b"1", b"2"]
    assert not any(method.redelivered for method, _, _ in seen)
    channel.basic_ack(seen[1][0].delivery_tag)
    first.close()
    channel = connect().channel()
    channel.basic_qos(prefetch_count=1)
    again = []
    for method, _, body in channel.consume("work", inactivity_timeout=10):
        assert method is not None, again
        again.append((body, method.redelivered))
        channel.basic_ack(method.delivery_tag)
        if len(again) == 4:
            break
    assert [body for body, _ in again] == [b"0", b"2", b"3", b"4"], again
    assert again[0][1] and again[1][1], again


def routing():
    channel = connect().channel()
    for kind, key in [("direct", "a"), ("fanout", ""), ("topic", "a.*.#"), ("headers", "")]:
        name = f"x-{kind}"
        channel.exchange_declare(name, kind, auto_delete=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue.startswith("amq.gen-"), queue
        arguments = {"x-match": "all", "colour": "red"} if kind == "headers" else None
        channel.queue_bind(queue, name, key, arguments)
        headers = pika.BasicProperties(headers={"colour": "red", "size": 7, "deep": {"a": [1, None]}})
        channel.basic_publish(name, "a.b" if kind == "topic" else "a", kind, headers)
        method, properties, body = take(channel, queue)
        assert (body, method.exchange) == (kind.encode(), name)
        assert properties.headers == headers.headers, properties.headers
    text = refused(404, channel.queue_declare, "absent", passive=True)
    assert text == "NOT_FOUND - no queue 'absent' in vhost '/'", text


def large():
    channel = connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("large")
    body = bytes(range(256)) * 20_000
    channel.basic_publish("", "large", body)
    assert take(channel, "large")[2] == body


def transactions():
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("tx")
    channel.tx_select()
    channel.basic_publish("", "tx", b"1")
    channel.tx_rollback()
    channel.basic_publish("", "tx", b"2")
    assert channel.queue_declare("tx", passive=True).method.message_count == 0
    channel.tx_commit()
    assert take(connection.channel(), "tx")[2] == b"2"


def refusals():
    channel = connect().channel()
    channel.queue_declare("mine", durable=True)
    refused(406, channel.queue_declare, "mine")
    channel = connect().channel()
    try:
        text = refused(406, channel.exchange_declare, "x", "x-unknown")
    except ConnectionClosedByBroker as closed:
        # RabbitMQ before its version 4.
        assert closed.reply_code == 503, closed
        text = closed.reply_text
    assert "x-unknown" in text, text
    for parameters, error in [
            ({"credentials": pika.PlainCredentials("guest", "wrong")}, ProbableAuthenticationError),
            ({"virtual_host": "/absent"}, ProbableAccessDeniedError)]:
        try:
            connect(**parameters)
            raise AssertionError(f"let in with {parameters}")
        except (error, ConnectionClosedByBroker):
            pass


def keep():
    """Before the broker is killed."""
    channel = connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True)
    for number in range(50):
        channel.basic_publish("", "kept", b"kept %d" % number, PERSISTENT)
    channel.basic_publish("", "kept", b"transient")


def kept():
    """After it was started again."""
    channel = connect().channel()
    for number in range(50):
        method, _, body = take(channel, "kept")
        assert body == b"kept %d" % number, body
        channel.basic_ack(method.delivery_tag)
    assert channel.basic_get("kept") == (None, None, None)


globals()[TOPIC]()
print("ok")
