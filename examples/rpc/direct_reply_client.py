"""The same with RabbitMQ's direct reply-to, which needs no queue for the answers, and with asyncio.

    python direct_reply_client.py 30 31
"""

import asyncio
import os
import sys
import uuid

import aio_pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
REPLY_TO = "amq.rabbitmq.reply-to"


async def main(numbers):
    async with await aio_pika.connect(AMQP_URL) as connection:
        channel = await connection.channel()
        answers = {}

        async def on_reply(message):
            answers.pop(message.correlation_id).set_result(int(message.body))

        # Nobody declares this queue. Consume it first, on the channel that sends the request.
        replies = await channel.get_queue(REPLY_TO, ensure=False)
        await replies.consume(on_reply, no_ack=True)

        async def call(n):
            id = str(uuid.uuid4())
            answers[id] = asyncio.get_running_loop().create_future()
            request = aio_pika.Message(n.encode(), reply_to=REPLY_TO, correlation_id=id)
            await channel.default_exchange.publish(request, routing_key="rpc_queue")
            return await asyncio.wait_for(answers[id], timeout=10)

        for n, answer in zip(numbers, await asyncio.gather(*map(call, numbers))):
            print(f"fibonacci({n}) = {answer}")


asyncio.run(main(sys.argv[1:]))
