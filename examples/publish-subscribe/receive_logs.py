"""Prints all log messages from its start on (RabbitMQ's third tutorial).

    python receive_logs.py
"""

import os

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

channel = pika.BlockingConnection(pika.URLParameters(AMQP_URL)).channel()
channel.exchange_declare("logs", exchange_type="fanout")
# RabbitMQ names the queue, and deletes it when this connection ends.
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "logs")
channel.basic_consume(queue, lambda _c, _m, _p, body: print(body.decode()), auto_ack=True)
print("waiting for logs")
channel.start_consuming()
