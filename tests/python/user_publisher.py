"""The publisher of the user service, as its team wrote it: it declares nothing and awaits nothing.

Usage: user_publisher.py PORT TEXT
"""

import sys

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.basic_publish(exchange="", routing_key="user_message", body=sys.argv[2])
print(f"sent {sys.argv[2]}")
connection.close()
