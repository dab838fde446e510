"""An HTTP service that answers 30 with 832040.

    python fibonacci.py [PORT]
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open between requests

    def do_POST(self):
        n = int(self.rfile.read(int(self.headers["Content-Length"])))
        answer = str(fibonacci(n)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        print(f"fibonacci({n})")

    def log_message(self, *_):
        """No access log: the prints above are enough."""


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9101
with ThreadingHTTPServer(("127.0.0.1", port), Service) as server:
    print(f"listening on port {port}")
    server.serve_forever()
