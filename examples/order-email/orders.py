"""The order service. It publishes what happened and does not know its consumers.

    python orders.py 4711 4712            places two orders
    python orders.py --own-queue 4711     the same, as a team does that declares the queue here
"""

import json
import os
import sys
import time
import uuid

import pika
from pika.exceptions import AMQPConnectionError, UnroutableError

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")


def connect():
    while True:
        try:
            return pika.BlockingConnection(pika.URLParameters(AMQP_URL))
        except AMQPConnectionError:
            print("RabbitMQ is away, trying again")
            time.sleep(1)


def place(channel, number):
    order = {"order": number, "email": f"customer-{number}@example.com"}
    properties = pika.BasicProperties(
        message_id=str(uuid.uuid4()),  # a consumer recognises a redelivery by it
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent,  # survives a restart of RabbitMQ
    )
    while True:
        try:
            # mandatory: RabbitMQ returns the message if no queue takes it. Otherwise an order
            # placed before the first consumer ever ran would be lost.
            channel.basic_publish(
                "order-exchange", "order.placed", json.dumps(order), properties, mandatory=True
            )
            print(f"order {number} placed")
            return
        except UnroutableError:
            print(f"order {number}: nobody has a queue for it yet, trying again")
            time.sleep(1)


numbers = [argument for argument in sys.argv[1:] if argument != "--own-queue"]
connection = connect()
channel = connection.channel()
channel.exchange_declare("order-exchange", exchange_type="direct", durable=True)
if "--own-queue" in sys.argv:
    channel.queue_declare("email-queue", durable=True)
    channel.queue_bind("email-queue", "order-exchange", "order.placed")
channel.confirm_delivery()  # basic_publish returns when RabbitMQ has confirmed the message
for number in numbers:
    place(channel, number)
connection.close()
