"""A service that knows only HTTP. It prints each event that it receives.

    python target.py [PORT]
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Target(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open between events

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.headers["ce-type"], self.headers["ce-id"], body.decode())
        # Any 2xx means that the event is done. Only now does RabbitMQ delete it.
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """No access log: the prints above are enough."""


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9101
with ThreadingHTTPServer(("127.0.0.1", port), Target) as server:
    print(f"listening on port {port}")
    server.serve_forever()
