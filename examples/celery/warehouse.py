"""A Celery service. It consumes every event of the fanout microservice-events.

    celery --app warehouse worker
"""

import os

from celery import Celery
from celery.utils.log import get_task_logger
from kombu import Exchange, Queue

# It ends in %2F, the virtual host "/", so that Celery, pika and the listener use the same one.
BROKER_URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

events = Exchange("microservice-events", type="fanout", durable=True)
log = get_task_logger(__name__)

app = Celery("warehouse", broker=BROKER_URL)
app.conf.update(
    task_queues=[Queue("warehouse-events", events)],
    # This app publishes to the exchange of its default queue, and so to every service's queue.
    task_default_queue="warehouse-events",
    # Acknowledge after the task, so that a crashed worker loses nothing.
    task_acks_late=True,
    task_ignore_result=True,
)


def order_placed(**event):
    print(f"reserving goods for order {event['resource_id']}")


HANDLERS = {"order_placed": order_placed}


@app.task(name="microservice.event")
def microservice_event(event_type, *args, **event):
    handler = HANDLERS.get(event_type)
    log.info(
        "MICROSERVICE_EVENT::%s: Received [%s:%s] event for object (%s:%s) and user %s",
        "PROCESSED" if handler else "IGNORED",
        event_type,
        event.get("task_id"),
        event.get("resource_type"),
        event.get("resource_id"),
        event.get("user_id"),
    )
    if handler:
        handler(*args, **event)
