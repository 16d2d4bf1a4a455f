"""What Queue promises, on the fake and on RQ over a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest
import redis
from rq import Queue as Tickets
from rq.serializers import JSONSerializer

from server.ports import Queue, Unavailable
from server.queue import RqQueue
from tests.fakes import MemoryQueue
from tests.valkey_server import Valkey, running
from worker.contract import DRAIN, QUEUE, RedisSettings

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

Sides = tuple[Queue, Callable[[], int]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def valkey_of_module() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture
def client(valkey_of_module: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_of_module.url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def rq_queue(valkey_of_module: Valkey) -> AsyncIterator[RqQueue]:
    queue = RqQueue(RedisSettings(redis_url=valkey_of_module.url, redis_timeout_seconds=5))
    yield queue
    await queue.aclose()


@pytest.fixture(params=["fake", "rq"])
def sides(request: pytest.FixtureRequest) -> Sides:
    """The queue, and a way to count the tickets that wait."""
    if request.param == "fake":
        fake = MemoryQueue()
        return fake, lambda: fake.tickets
    tickets = Tickets(
        QUEUE, connection=request.getfixturevalue("client"), serializer=JSONSerializer
    )
    return request.getfixturevalue("rq_queue"), lambda: tickets.count


async def test_ring_leaves_a_ticket(sides: Sides) -> None:
    queue, waiting = sides

    await queue.ring()

    assert waiting() == 1


async def test_ring_leaves_no_more_tickets_than_say_anything(sides: Sides) -> None:
    queue, waiting = sides

    for _ in range(10):
        await queue.ring()

    assert waiting() == 4


async def test_rings_at_once_leave_at_least_a_ticket(sides: Sides) -> None:
    queue, waiting = sides

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(queue.ring)

    assert 1 <= waiting() <= 4


async def test_ticket_names_the_one_function_and_nothing_else(
    rq_queue: RqQueue, client: redis.Redis
) -> None:
    await rq_queue.ring()

    (job,) = Tickets(QUEUE, connection=client, serializer=JSONSerializer).jobs
    assert (job.func_name, list(job.args), job.kwargs) == (DRAIN, [], {})
    assert job.timeout == -1
    assert job.result_ttl == 0


async def test_ring_says_that_redis_is_down_when_it_is() -> None:
    queue = RqQueue(RedisSettings(redis_url="unix:///nowhere/valkey.sock"))

    with pytest.raises(Unavailable, match="redis"):
        await queue.ring()

    await queue.aclose()
