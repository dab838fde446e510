"""Emits one event, in either of the two ways that Celery services use.

    python emit.py order_placed 4711           as a task of the Celery app (protocol 2)
    python emit.py --pika order_placed 4711    by pika, without Celery (protocol 1)
"""

import json
import sys
import uuid

import pika

from warehouse import BROKER_URL, app


def by_celery(event_type, event):
    app.send_task(
        "microservice.event", args=[event_type], kwargs=event, task_id=event["task_id"]
    )


def by_pika(event_type, event):
    """The worker reads only the body and the content type."""
    body = {
        "task": "microservice.event",
        "id": event["task_id"],
        "args": [event_type],
        "kwargs": event,
    }
    connection = pika.BlockingConnection(pika.URLParameters(BROKER_URL))
    channel = connection.channel()
    channel.exchange_declare("microservice-events", exchange_type="fanout", durable=True)
    channel.confirm_delivery()
    channel.basic_publish(
        "microservice-events",
        "",  # a fanout ignores the routing key
        json.dumps(body),
        pika.BasicProperties(
            content_type="application/json", content_encoding="utf-8", delivery_mode=2
        ),
    )
    connection.close()


emit = by_pika if "--pika" in sys.argv else by_celery
event_type, resource_id = [argument for argument in sys.argv[1:] if argument != "--pika"]
event = {
    "task_id": str(uuid.uuid4()),
    "resource_type": "Order",
    "resource_id": resource_id,
    "user_id": "17",
    "meta": {},
}
emit(event_type, event)
print(f"emitted {event_type} {event['task_id']}")
