"""POST /handle on 127.0.0.1:$PORT, published to RabbitMQ at $AMQP_URL. With --versions it only
prints the versions."""

import asyncio
import os
import platform
import sys
import time
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Literal
from uuid import uuid4

import aio_pika
import uvicorn
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError, PublishError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

EXCHANGE = "events.topic.exchange"
CONFIRM_SECONDS_MAX = 5

Level = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class Log(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=1024)
    data: Any
    level: Level = "INFO"


class Envelope(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: Literal["log"]
    log: Log


class Published(BaseModel):
    id: str


class Accepted(BaseModel):
    error: bool = False
    message: str = "logged via RabbitMQ"
    data: Published


@asynccontextmanager
async def lifespan(app: FastAPI):
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        app.state.exchange = await channel.declare_exchange(
            EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True
        )
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


def failed(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": True, "message": message}, status)


@app.exception_handler(ValidationError)
async def invalid(_request: Request, error: ValidationError) -> JSONResponse:
    first = error.errors(include_url=False)[0]
    return failed(400, ": ".join([*map(str, first["loc"]), first["msg"]]))


@app.post("/handle", status_code=202)
async def handle(request: Request) -> Accepted:
    # Read here, not as a parameter: FastAPI would parse the JSON first, a sixth of the time,
    # and Pydantic would then check the result.
    log = Envelope.model_validate_json(await request.body()).log
    message_id = str(uuid4())
    routing_key = f"log.{log.level.upper()}"
    message = aio_pika.Message(
        # Omit a level that the client did not send.
        log.model_dump_json(exclude_unset=True).encode(),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message_id,
        type=routing_key,
        timestamp=time.time(),
    )
    try:
        # Bounds the wait for a lost connection as well, which publish's own timeout does not.
        async with asyncio.timeout(CONFIRM_SECONDS_MAX):
            await app.state.exchange.publish(message, routing_key, mandatory=True)
    except PublishError:
        return failed(503, "no queue takes this event")
    except DeliveryError:
        return failed(503, "RabbitMQ refused the event")
    except TimeoutError:
        return failed(503, "RabbitMQ did not confirm in time")
    except CONNECTION_EXCEPTIONS:
        return failed(503, "not connected to RabbitMQ")
    return Accepted(data=Published(id=message_id))


class Server(uvicorn.Server):
    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        if self.started:
            print("ready", flush=True)


def main() -> None:
    if "--versions" in sys.argv:
        packages = ["fastapi", "aio-pika", "uvicorn", "uvloop"]
        versions = [f"{package} {version(package)}" for package in packages]
        print(", ".join([*versions, f"Python {platform.python_version()}"]))
        return
    Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=int(os.environ["PORT"]),
            loop="uvloop",
            http="httptools",
            log_level="warning",
            access_log=False,
        )
    ).run()


if __name__ == "__main__":
    main()
