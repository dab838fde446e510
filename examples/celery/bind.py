"""Forwards events of the type microservice.event from the broker to all services on the fanout.

Run it once. The workers do not change: RabbitMQ can bind an exchange to another one, like a queue.
"""

import os

import pika

BROKER_URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

connection = pika.BlockingConnection(pika.URLParameters(BROKER_URL))
channel = connection.channel()
channel.exchange_declare("events.topic.exchange", exchange_type="topic", durable=True)
channel.exchange_declare("microservice-events", exchange_type="fanout", durable=True)
channel.exchange_bind(
    destination="microservice-events",
    source="events.topic.exchange",
    routing_key="microservice.event",
)
connection.close()
print("events.topic.exchange -- microservice.event --> microservice-events")
