"""The email service. It speaks HTTP and does not know RabbitMQ.

    python email_service.py [PORT]
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sent = set()


class EmailService(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open between events

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        event = self.headers["Idempotency-Key"]
        # After a crash an event can arrive twice, with the same id.
        if event not in sent:
            sent.add(event)
            print(f"mail to {order['email']}: thank you for order {order['order']}")
        self.send_response(204)  # any 2xx means that the event is done
        self.end_headers()

    def log_message(self, *_):
        """No access log: the prints above are enough."""


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9101
with ThreadingHTTPServer(("127.0.0.1", port), EmailService) as server:
    print(f"listening on port {port}")
    server.serve_forever()
