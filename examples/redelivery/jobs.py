"""Publishes jobs that survive a restart of RabbitMQ, and jobs that need not survive it.

    python jobs.py
"""

import os
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
channel = connection.channel()
channel.confirm_delivery()
for number in (1, 2):
    for mode in pika.DeliveryMode:
        job = f"{mode.name.lower()} job {number}"
        # Straight into the queue, through the default exchange. The id identifies a redelivered job.
        properties = pika.BasicProperties(content_type="text/plain", delivery_mode=mode,
                                          message_id=str(uuid.uuid4()))
        channel.basic_publish("", "jobs", job, properties, mandatory=True)
        print(f"published {job}")
connection.close()
