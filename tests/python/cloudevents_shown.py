"""An event as a line of JSON, the same for sender and receiver."""

import base64
import json
from datetime import datetime, timezone


def shown(event):
    attributes = {
        name: text(value)
        for name, value in event.get_attributes().items()
        if value is not None
    }
    data = event.get_data()
    if isinstance(data, (bytes, bytearray)):
        data = {"base64": base64.b64encode(data).decode()}
    return json.dumps({"attributes": attributes, "data": data}, sort_keys=True)


def text(value):
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return str(value)
