"""A target that reads each delivery with the CloudEvents SDK and prints it as a line.

The first line is its URL.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from cloudevents_shown import shown


class Target(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        event = from_http_event(HTTPMessage(dict(self.headers.items()), body))
        # One write: print writes the line end separately, and there are several threads.
        sys.stdout.write(shown(event) + "\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
