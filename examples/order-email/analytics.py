"""Analytics: a plain AMQP consumer next to the listener, with its own queue and so its own copy.

    python analytics.py
"""

import json
import os
import time

import pika
from pika.exceptions import AMQPConnectionError

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")


def connect():
    while True:
        try:
            return pika.BlockingConnection(pika.URLParameters(AMQP_URL))
        except AMQPConnectionError:
            print("RabbitMQ is away, trying again")
            time.sleep(1)


def count(channel, method, properties, body):
    print(f"counted order {json.loads(body)['order']}")
    channel.basic_ack(method.delivery_tag)  # last: if this program crashes before, RabbitMQ redelivers the order


channel = connect().channel()
# Every program declares what it needs with the same arguments, so the order of start does not matter.
channel.exchange_declare("order-exchange", exchange_type="direct", durable=True)
channel.queue_declare("analytics-queue", durable=True)
channel.queue_bind("analytics-queue", "order-exchange", "order.placed")
channel.basic_qos(prefetch_count=50)
channel.basic_consume("analytics-queue", count)
print("counting")
channel.start_consuming()
