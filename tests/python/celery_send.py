"""Sends tasks with Celery in every way it supports, and prints a line for each: the expected result, the id.

    python celery_send.py amqp://guest:guest@127.0.0.1:5672/%2F
"""

import datetime
import json
import sys

from celery import Celery
from kombu import Exchange, Queue
from kombu.serialization import register

# YAML and MessagePack as kombu names them; their packages are not installed, and not needed.
register("yaml", json.dumps, json.loads, "application/x-yaml", "utf-8")
register("msgpack", lambda data: b"\x93\x91\xa6sample\x80\x80", lambda data: None, "application/x-msgpack", "binary")

PAST = datetime.datetime(2020, 1, 1, 12, 0)
# Celery also sets an AMQP expiration, which RabbitMQ limits to some weeks.
FUTURE = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=10)

WAYS = [
    ("delivered", {}),
    ("delivered", {"compression": "gzip"}),
    ("delivered", {"compression": "zlib"}),
    ("compression", {"compression": "bzip2"}),
    ("compression", {"compression": "lzma"}),
    ("x-python-serialize", {"serializer": "pickle"}),
    ("x-python-serialize", {"serializer": "pickle", "compression": "gzip"}),
    ("x-yaml", {"serializer": "yaml"}),
    ("x-msgpack", {"serializer": "msgpack"}),
    ("expired at 2020-01-01T12:00:00Z", {"expires": PAST}),
    ("expired at 2020-01-01T11:00:00Z", {"expires": PAST.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1)))}),
    ("expired at 2020-01-01T12:00:00Z", {"expires": PAST, "compression": "gzip"}),
    ("delivered", {"expires": FUTURE}),
    ("delivered", {"expires": 3600}),
    ("delivered", {"countdown": 3600}),
    ("ignored", {"args": ["order_returned"]}),
    ("ignored", {"args": ["order_returned"], "compression": "gzip", "expires": FUTURE}),
]

for protocol in (1, 2):
    app = Celery("sender", broker=sys.argv[1])
    app.conf.update(
        task_queues=[Queue("worker-events", Exchange("microservice-events", type="fanout"))],
        task_default_queue="worker-events",
        task_protocol=protocol,
    )
    for number, (fate, options) in enumerate(WAYS):
        id = f"{protocol}-{number}"
        task = {"args": ["order_placed"], "kwargs": {"task_id": id, "resource_type": "Order"}}
        app.send_task("microservice.event", task_id=id, **{**task, **options})
        print(f"{id} {fate}")
