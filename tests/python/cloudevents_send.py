"""Sends events with the CloudEvents SDK to the URL given, in all three modes.

Prints a line for each event that was accepted. The SDK has no batches of its own: one is made of its
structured events.
"""

import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

from cloudevents.core.bindings.http import (
    HTTPMessage,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent

from cloudevents_shown import shown

DATA = [
    ("application/json", {"größe": [1, 2.5, None], "text": "\u20ac \U0001f600"}),
    ("application/vnd.order+json", {"nested": {"list": [True, "x"]}}),
    ("text/plain", "Grüße, 50 % \"quoted\"\n"),
    ("image/png", bytes(range(256))),
]


def events(mode):
    for number, (content_type, data) in enumerate(DATA):
        attributes = {
            "id": f"{mode} {number}",
            "type": "order.placed",
            "source": "https://example.com/shop?a=%20#b",
            "subject": "Größe 50% \"x\" \U0001f600",
            "time": datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=1))),
            "datacontenttype": content_type,
            "dataschema": "https://example.com/order.json#/a",
            "tenant": "blau-grün",
            "count": -5,
        }
        yield CloudEvent(attributes, data)


def post(url, message):
    request = urllib.request.Request(url, message.body, message.headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 202, answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{error}: {error.read().decode()}")


def batch(all_events):
    bodies = [to_structured_event(event).body for event in all_events]
    headers = {"content-type": "application/cloudevents-batch+json"}
    return HTTPMessage(headers, b"[" + b",".join(bodies) + b"]")


def main(url):
    for mode, to_message in (
        ("binary", to_binary_event),
        ("structured", to_structured_event),
    ):
        for event in events(mode):
            post(url, to_message(event))
            print(shown(event))
    post(url, batch(events("batch")))
    for event in events("batch"):
        print(shown(event))


main(sys.argv[1])
