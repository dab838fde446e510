"""Verifies signed deliveries with the Standard Webhooks library for Python.

Arguments: a secret, and a JSON list of {"headers": …, "body": …}. Prints a line for each delivery.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

secret, deliveries = sys.argv[1:]
webhook = Webhook(secret)
for delivery in json.loads(deliveries):
    try:
        data = webhook.verify(delivery["body"], delivery["headers"])
        print("verified", json.dumps(data))
    except WebhookVerificationError as error:
        print("refused", error)
