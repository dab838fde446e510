"""The pricing service: HTTP in, JSON out. It answers goamqp's requests without knowing goamqp.

    python pricing.py [PORT]
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRICES = {"lamp": 4900, "chair": 12900}


class Pricing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open between requests

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        item = request["item"]
        answer = json.dumps({"item": item, "cents": PRICES.get(item)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        print(f"asked for the price of a {item}")

    def log_message(self, *_):
        """No access log: the prints above are enough."""


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9102
with ThreadingHTTPServer(("127.0.0.1", port), Pricing) as server:
    print(f"listening on port {port}")
    server.serve_forever()
