"""A service that behaves like goamqp (github.com/sparetimecoders/goamqp), in a few lines of Python.

    python goamqp.py invoices consume order.placed
    python goamqp.py shop publish order.placed '{"order": 4711}'
    python goamqp.py shop request pricing quote '{"item": "lamp"}'

The first argument is the service's own name.
"""

import json
import os
import sys

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
EVENTS = "events.topic.exchange"
FIVE_DAYS_MS = 5 * 24 * 60 * 60 * 1000


class Goamqp:
    """Names, arguments, headers and acknowledgements are goamqp's."""

    def __init__(self, name):
        self.name = name
        self.handlers = {}
        self.connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
        self.channel = self.connection.channel()
        # For all consumers of the channel together, which only classic queues support.
        self.channel.basic_qos(prefetch_count=20, global_qos=True)

    def consume_events(self, key, handler):
        queue = f"{EVENTS}.queue.{self.name}"
        self._consume(EVENTS, "topic", queue, key, handler)

    def publish_event(self, key, message):
        self._publish(EVENTS, "topic", key, message)

    def request(self, service, key, message):
        self._publish(f"{service}.direct.exchange.request", "direct", key, message)

    def consume_responses(self, service, key, handler):
        """Responses of `service` come through its headers exchange, to the service that their header names."""
        exchange = f"{service}.headers.exchange.response"
        queue = f"{exchange}.queue.{self.name}"
        self._consume(exchange, "headers", queue, key, handler, {"service": self.name})

    def _publish(self, exchange, kind, key, message):
        self.channel.exchange_declare(exchange, exchange_type=kind, durable=True)
        # goamqp sends no message_id, no type and no timestamp.
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, headers={"service": self.name}
        )
        self.channel.basic_publish(exchange, key, json.dumps(message), properties)

    def _consume(self, exchange, kind, queue, key, handler, binding=None):
        self.channel.exchange_declare(exchange, exchange_type=kind, durable=True)
        arguments = {"x-expires": FIVE_DAYS_MS}
        self.channel.queue_declare(queue, durable=True, arguments=arguments)
        self.channel.queue_bind(queue, exchange, key, binding)
        self.handlers[key] = handler
        self.channel.basic_consume(queue, self._receive)

    def _receive(self, channel, method, properties, body):
        handler = self.handlers.get(method.routing_key)
        if handler is None:
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        handler(json.loads(body), properties.headers or {})
        channel.basic_ack(method.delivery_tag)

    def run(self):
        self.channel.start_consuming()


def show(message, headers):
    sender = headers.get("service", "a service that gives no name")
    print(f"event {json.dumps(message)} from {sender}")


def answer(message, _headers):
    print(f"response {json.dumps(message)}")
    sys.exit(0)


match sys.argv[1:]:
    case [name, "consume", *keys]:
        service = Goamqp(name)
        for key in keys:
            service.consume_events(key, show)
        print("consuming")
        service.run()
    case [name, "publish", key, message]:
        Goamqp(name).publish_event(key, json.loads(message))
        print("published")
    case [name, "request", target, key, message]:
        service = Goamqp(name)
        service.consume_responses(target, key, answer)
        service.request(target, key, json.loads(message))
        service.connection.call_later(30, lambda: sys.exit("no response within 30 s"))
        service.run()
    case _:
        sys.exit(__doc__)
