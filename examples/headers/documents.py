"""Publishes a document with headers that describe it.

    python documents.py format=pdf pages=3
"""

import json
import os
import sys

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

headers = dict(argument.split("=") for argument in sys.argv[1:])
if "pages" in headers:
    headers["pages"] = int(headers["pages"])  # types must match too: 3 is not "3"

connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
channel = connection.channel()
channel.exchange_declare("documents", exchange_type="headers", durable=True)
channel.confirm_delivery()
channel.basic_publish(
    "documents",
    "document.added",  # a headers exchange routes by headers alone; the key names the event
    json.dumps(headers),
    pika.BasicProperties(headers=headers, content_type="application/json", delivery_mode=2),
)
print(f"published {headers}")
connection.close()
