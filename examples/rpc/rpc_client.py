"""Requests Fibonacci numbers and reads the answers from its own queue (RabbitMQ's sixth tutorial).

    python rpc_client.py 30 31
"""

import os
import sys
import time
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")


class FibonacciClient:
    def __init__(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
        self.channel = self.connection.channel()
        self.replies = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.replies, self.on_reply, auto_ack=True)

    def on_reply(self, _channel, _method, properties, body):
        if properties.correlation_id == self.correlation_id:
            self.reply = body

    def call(self, n):
        self.reply, self.correlation_id = None, str(uuid.uuid4())
        self.channel.basic_publish(
            "",  # the default exchange: the routing key is the queue's name
            "rpc_queue",
            str(n),
            pika.BasicProperties(reply_to=self.replies, correlation_id=self.correlation_id),
        )
        end = time.monotonic() + 10
        while self.reply is None:
            if time.monotonic() > end:
                raise TimeoutError(f"no answer to {n} within 10 s")
            self.connection.process_data_events(time_limit=1)
        return int(self.reply)


client = FibonacciClient()
for n in sys.argv[1:]:
    print(f"fibonacci({n}) = {client.call(n)}")
