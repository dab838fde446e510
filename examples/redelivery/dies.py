"""A consumer that takes jobs, finishes none, and dies two seconds later.

    python dies.py
"""

import os
import signal

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")

channel = pika.BlockingConnection(pika.URLParameters(AMQP_URL)).channel()
channel.basic_qos(prefetch_count=10)
print("taking jobs", flush=True)
taken = 0
for method, _, body in channel.consume("jobs", inactivity_timeout=2):
    if method is not None:
        print(f"took {body.decode()}", flush=True)
        taken += 1
    elif taken:
        break
# Like a crash: acknowledge nothing, close nothing.
os.kill(os.getpid(), signal.SIGKILL)
