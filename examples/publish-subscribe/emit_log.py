"""Publishes log messages to all current subscribers (RabbitMQ's third tutorial).

    python emit_log.py 'first message' 'second message'
"""

import os
import sys

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
channel = connection.channel()
channel.exchange_declare("logs", exchange_type="fanout")
for message in sys.argv[1:]:
    channel.basic_publish("logs", "", message)
    print(f"sent {message}")
connection.close()
