"""The consumer of the user service, as its team wrote it: it prints and never acknowledges.

Usage: user_consumer.py PORT
"""

import sys

import pika


def callback(channel, method, properties, body):
    again = " again" if method.redelivered else ""
    print(f"received{again} {body.decode()}", flush=True)


connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare(queue="user_message", durable=True)
channel.basic_consume(queue="user_message", on_message_callback=callback)
print("waiting", flush=True)
channel.start_consuming()
