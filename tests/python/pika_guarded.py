"""How the broker lets in, keeps and holds back its clients, as pika sees it.

Usage: pika_guarded.py PORT TOPIC [FOLDER]
"""

import os
import ssl
import sys
import time

import pika
from pika.credentials import ExternalCredentials
from pika.exceptions import AMQPConnectionError, ProbableAuthenticationError

PORT, TOPIC = int(sys.argv[1]), sys.argv[2]
FOLDER = sys.argv[3] if len(sys.argv) > 3 else "."


def connect(**more):
    return pika.BlockingConnection(pika.ConnectionParameters("localhost", PORT, **more))


def secure(certificate=None):
    context = ssl.create_default_context(cafile=os.path.join(FOLDER, "authority.pem"))
    if certificate:
        context.load_cert_chain(os.path.join(FOLDER, f"{certificate}.pem"),
                                os.path.join(FOLDER, f"{certificate}.key"))
    return pika.SSLOptions(context, "localhost")


def works(connection):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"x" * 300_000)
    assert channel.basic_get(queue)[2] == b"x" * 300_000
    connection.close()


def tls():
    works(connect(ssl_options=secure(), credentials=pika.PlainCredentials("clerk", "secret")))
    for wrong in [dict(credentials=ExternalCredentials()),
                  dict(credentials=pika.PlainCredentials("clerk", "wrong"))]:
        try:
            connect(ssl_options=secure(), **wrong)
            raise AssertionError(f"let in with {wrong}")
        except AMQPConnectionError:
            pass


def external():
    """Who has shown a certificate of its own is the one whom that names."""
    works(connect(ssl_options=secure("mailer"), credentials=ExternalCredentials()))
    for stranger in ["nobody", "forged"]:
        try:
            connect(ssl_options=secure(stranger), credentials=ExternalCredentials())
            raise AssertionError(f"{stranger} was let in")
        except (AMQPConnectionError, ssl.SSLError):
            pass


def password():
    """Whoever guesses has to wait, for a user that is there as for one that is not."""
    for name in ["guest", "nobody"]:
        began = time.monotonic()
        try:
            connect(credentials=pika.PlainCredentials(name, "wrong"))
            raise AssertionError(f"{name} was let in")
        except ProbableAuthenticationError as error:
            assert "ACCESS_REFUSED" in str(error) or "403" in str(error), error
        assert time.monotonic() - began > 0.9, "it was told at once"


def heartbeats():
    """Who keeps giving signs of life stays longer than one who does not."""
    lively, silent = connect(heartbeat=1), connect(heartbeat=1)
    # Reads what is there and never writes, as one does that hangs.
    socket = silent._impl._transport._sock
    end = time.monotonic() + 30
    while time.monotonic() < end:
        lively.process_data_events(0.05)
        try:
            if socket.recv(4096) == b"":
                break
        except BlockingIOError:
            pass
        except ConnectionResetError:
            break
    else:
        raise AssertionError("it is still there")
    works(lively)


def memory():
    """Transient messages fill the memory: publishers are blocked until some were taken out."""
    blocked, unblocked = [], []
    publisher = connect()
    publisher.add_on_connection_blocked_callback(lambda _, frame: blocked.append(frame))
    publisher.add_on_connection_unblocked_callback(lambda _, frame: unblocked.append(frame))
    channel = publisher.channel()
    channel.queue_declare("full")
    sent = 0
    while not blocked:
        channel.basic_publish("", "full", b"x" * 10_000)
        sent += 1
        publisher.process_data_events(0)
        assert sent < 10_000, "it takes on whatever comes"
    assert "low on memory" in blocked[0].method.reason, blocked
    # Who does not publish goes on taking.
    taking = connect().channel()
    taken = 0
    while taken < sent or len(unblocked) < len(blocked):
        method, _, body = taking.basic_get("full")
        if method is not None:
            assert len(body) == 10_000
            taking.basic_ack(method.delivery_tag)
            taken += 1
        publisher.process_data_events(0)
    channel.confirm_delivery()
    channel.basic_publish("", "full", b"last")
    assert taking.basic_get("full", auto_ack=True)[2] == b"last"
    assert taking.basic_get("full")[0] is None


globals()[TOPIC]()
print("ok")
