"""Deliveries as they happen: real HTTP on loopback, real SQL, real processes that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from urllib.parse import urlsplit

import anyio
import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from sdk.wire import Delivery, DeliveryState, EndpointState, EventData, EventType, Health
from server import ids
from server.clock import SystemClock
from server.courier import Bell, Courier, Sender
from server.metrics import Metrics
from server.ports import Clock
from server.rules.webhooks import Hook, Signing, new_secret
from server.settings import ServerSettings
from server.store import webhooks
from server.store.deliveries import SqlDeliveries
from server.store.engine import Database
from server.store.webhooks import NewEvent, SqlWebhooks
from tests.fakes import ManualClock
from tests.server.forbidden_webhooks import claimed
from tests.server.receiver import Receiver, receiving
from tests.store.conftest import opened
from worker.contract import RedisSettings
from worker.dial import Resolver
from worker.guard import Policy

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "vectors" / "urls.json").read_text())["cases"]
LOOPBACK = ("127.0.0.0/8",)
HEALTH = Health(status="ok")


def nowhere(host: str) -> Sequence[str]:
    raise OSError(f"{host} is not known in this test")


class Scene:
    """One owner, whose endpoints are on loopback, and the parts that deliver to them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.store = SqlWebhooks(database)
        self.bell = Bell()
        self.metrics = Metrics()

    async def endpoint(
        self, receiver: Receiver, *, path: str = "", state: EndpointState = EndpointState.ENABLED
    ) -> Hook:
        now = self.clock.now()
        hook = Hook(
            id=ids.new("whk", now),
            owner="ada",
            url=receiver.url + path,
            secrets=(Signing(new_secret()),),
            state=state,
            created_at=now,
        )
        assert await self.store.add_endpoint(hook, limit=50, actor="key_1")
        return hook

    async def tell(self, count: int = 1) -> list[str]:
        """Tell of so many pings, and return the events' ids."""
        now = self.clock.now()
        events = [
            NewEvent(
                owner="ada",
                type=EventType.PING,
                subject=ids.scan_id(now),
                sequence=1,
                data=EventData(),
            )
            for _ in range(count)
        ]

        def work(connection: sa.Connection) -> None:
            webhooks.add(connection, events, now=now)

        await self.database.write(work)
        self.bell.ring()
        return [event.id for event in events]

    async def deliveries(self, hook: Hook) -> Sequence[Delivery]:
        return await self.store.deliveries("ada", hook.id, before=None, limit=1000)

    async def until(self, hook: Hook, is_so: Callable[[Sequence[Delivery]], bool]) -> None:
        """Return once the endpoint's deliveries are so; fail after 30 s."""
        with anyio.fail_after(30):
            while not is_so(await self.deliveries(hook)):  # noqa: ASYNC110 - it happens elsewhere
                await anyio.sleep(0.02)

    @asynccontextmanager
    async def delivering(
        self,
        receiver: Receiver,
        *,
        networks: Sequence[str] = LOOPBACK,
        resolver: Resolver = nowhere,
        timeout_seconds: float = 15.0,
    ) -> AsyncIterator[None]:
        """Run a courier that may reach the receiver."""
        policy = Policy(networks, (receiver.port,))
        sender = Sender(policy, resolver=resolver, timeout_seconds=timeout_seconds)
        courier = Courier(
            deliveries=SqlDeliveries(self.database),
            sender=sender,
            clock=self.clock,
            bell=self.bell,
            metrics=self.metrics,
            draw=lambda: 0.0,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(courier.run)
            yield
            group.cancel_scope.cancel()
        await sender.aclose()


def all_delivered(found: Sequence[Delivery]) -> bool:
    return bool(found) and all(one.state is DeliveryState.DELIVERED for one in found)


def has_failed_once(found: Sequence[Delivery]) -> bool:
    return bool(found) and all(one.last_error is not None for one in found)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    return folder


@pytest.fixture
async def database(state_dir: Path) -> AsyncIterator[Database]:
    async with opened(ServerSettings(redis=RedisSettings(state_dir=state_dir))) as database:
        yield database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scene(database: Database, clock: ManualClock) -> Scene:
    return Scene(database, clock)


# --- what is sent --------------------------------------------------------------------------


async def test_delivery_is_signed_as_sdk_and_library_verify_it(database: Database) -> None:
    scene = Scene(database, SystemClock())
    with receiving() as receiver:
        hook = await scene.endpoint(receiver)
        (told,) = await scene.tell()
        async with scene.delivering(receiver):
            await scene.until(hook, all_delivered)

    (got,) = receiver.got
    event = got.event(hook.secrets[0].secret)
    assert Webhook(hook.secrets[0].secret).verify(got.body, got.headers)["id"] == event.id
    assert (event.id, event.type, got.id) == (told, EventType.PING, told)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("pinclip/")


async def test_every_secret_that_is_live_signs(scene: Scene, clock: ManualClock) -> None:
    with receiving() as receiver:
        hook = await scene.endpoint(receiver)
        old, new = hook.secrets[0].secret, new_secret()
        await scene.store.rotate("ada", hook.id, new, now=clock.now(), actor="key_1")
        await scene.tell()
        async with scene.delivering(receiver):
            await scene.until(hook, all_delivered)
            clock.advance(86_401)
            await scene.tell()
            await scene.until(hook, lambda found: len(found) == 2 and all_delivered(found))

    during, after = receiver.got
    assert during.event(old) == during.event(new)
    assert len(after.headers["webhook-signature"].split(" ")) == 1
    assert after.event(new).type is EventType.PING


async def test_attempt_after_a_failure_has_the_same_id_and_a_new_time(
    scene: Scene, clock: ManualClock
) -> None:
    answers = iter([500, 200])
    with receiving(lambda _: next(answers)) as receiver:
        hook = await scene.endpoint(receiver)
        await scene.tell()
        async with scene.delivering(receiver):
            await scene.until(hook, has_failed_once)
            clock.advance(5.1)
            scene.bell.ring()
            await scene.until(hook, all_delivered)

    first, second = receiver.got
    assert first.id == second.id
    assert second.at - first.at == 5
    assert first.event(hook.secrets[0].secret) == second.event(hook.secrets[0].secret)
    assert b'outcome="retried"} 1.0' in scene.metrics.exposition(HEALTH, None)


async def test_connection_is_used_again(scene: Scene) -> None:
    with receiving() as receiver:
        hook = await scene.endpoint(receiver)
        await scene.tell(8)
        async with scene.delivering(receiver):
            await scene.until(hook, all_delivered)

    assert len(receiver.got) == 8
    assert receiver.connections <= 2


# --- what is not taken ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (500, "status 500"),
        (404, "status 404"),
        ((302, {"Location": "/elsewhere"}), "redirects are not followed"),
        ((307, {"Location": "http://169.254.169.254/"}), "redirects are not followed"),
    ],
    ids=["500", "404", "302", "307"],
)
async def test_failure_is_kept_with_status_and_reason(
    answer: int | tuple[int, dict[str, str]], told: str, scene: Scene
) -> None:
    with receiving(lambda _: answer) as receiver:
        hook = await scene.endpoint(receiver)
        await scene.tell()
        async with scene.delivering(receiver):
            await scene.until(hook, has_failed_once)

    (failed,) = await scene.deliveries(hook)
    assert told in (failed.last_error or "")
    assert failed.state is DeliveryState.PENDING
    assert [got.path for got in receiver.got] == ["/hook"]


async def test_retry_after_is_obeyed(scene: Scene, clock: ManualClock) -> None:
    with receiving(lambda _: (429, {"Retry-After": "7200"})) as receiver:
        hook = await scene.endpoint(receiver)
        await scene.tell()
        async with scene.delivering(receiver):
            await scene.until(hook, has_failed_once)

    (failed,) = await scene.deliveries(hook)
    assert failed.next_attempt_at == ids.rfc3339(clock.now() + 7200)


async def test_gone_disables_and_tells_the_other_endpoint(scene: Scene) -> None:
    with receiving(lambda got: 410 if got.path == "/hook/gone" else 200) as receiver:
        gone = await scene.endpoint(receiver, path="/gone")
        await scene.tell()
        other = await scene.endpoint(receiver)
        async with scene.delivering(receiver):
            await scene.until(other, all_delivered)

    disabled = await scene.store.endpoint("ada", gone.id)
    assert disabled is not None
    assert disabled.state is EndpointState.DISABLED
    told = receiver.got[-1].event(other.secrets[0].secret)
    assert told.type is EventType.WEBHOOK_DISABLED
    assert told.data.endpoint is not None
    assert told.data.endpoint.id == gone.id


async def test_silence_ends_at_the_time_limit(scene: Scene) -> None:
    released = Flag()
    with receiving(lambda _: 200 if released.wait(30) else 500) as receiver:
        hook = await scene.endpoint(receiver)
        await scene.tell()
        async with scene.delivering(receiver, timeout_seconds=0.3):
            await scene.until(hook, has_failed_once)
        released.set()

    (failed,) = await scene.deliveries(hook)
    assert "no answer within 0.3 s" in (failed.last_error or "")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["endless-interim", "negative-length", "not-http", "hangs-up"],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes, scene: Scene) -> None:
    with saying(answer) as port, receiving() as receiver:
        hook = await scene.endpoint(receiver)
        (told,) = await scene.tell()
        sender = Sender(Policy(LOOPBACK, (port,)), timeout_seconds=10)
        got = await sender.send(claimed(f"http://127.0.0.1:{port}/"), now=1.0)
        await sender.aclose()

    assert not got.is_success
    assert "gave no answer" in (got.reason or "")
    assert (hook.url, told[:4]) == (receiver.url, "evt_")


async def test_long_answer_is_not_read(scene: Scene) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    with saying(head + bytes(200_000)) as port:
        sender = Sender(Policy(LOOPBACK, (port,)), timeout_seconds=10)
        with anyio.fail_after(8):
            got = await sender.send(claimed(f"http://127.0.0.1:{port}/"), now=1.0)
        await sender.aclose()

    assert got.is_success


# --- whom it reaches -----------------------------------------------------------------------


async def test_no_url_of_the_corpus_reaches_a_canary() -> None:
    with receiving() as canary:
        sender = Sender(Policy((), (canary.port,)), resolver=lambda _: ["127.0.0.1"])
        allowed = Sender(Policy(LOOPBACK, (canary.port,)), resolver=lambda _: ["127.0.0.1"])
        for url in [*corpus(), *at_port(canary.port)]:
            got = await sender.send(claimed(url), now=1.0)
            assert not got.is_success, url
            assert got.status is None, url
        reached = canary.connections
        control = await allowed.send(claimed(f"http://h.com:{canary.port}/"), now=1.0)
        await sender.aclose()
        await allowed.aclose()

    assert reached == 0
    assert control.is_success
    assert canary.connections == 1


@pytest.mark.root
def test_courier_reaches_no_forbidden_address() -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare, to make a network namespace")

    words = [sys.executable, "-m", "tests.server.forbidden_webhooks"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    result = json.loads(done.stdout or done.stderr)
    assert result["reached"] == 0
    # The canary does count: public addresses were reached, and the others are, without the guard.
    assert result["reached_public"] > 0
    assert result["reached_if_all_allowed"] > 100


@pytest.mark.parametrize(
    "answer",
    [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"], []],
    ids=["private", "mixed", "mapped", "link-local", "none"],
)
async def test_name_with_any_forbidden_address_is_not_dialled(answer: list[str]) -> None:
    with receiving() as receiver:
        sender = Sender(Policy(LOOPBACK, (receiver.port,)), resolver=lambda _: answer)
        got = await sender.send(claimed(f"http://h.com:{receiver.port}/"), now=1.0)
        await sender.aclose()

    assert receiver.connections == 0
    assert got.status is None
    assert "10.0.0.1" not in (got.reason or "")


async def test_proxies_of_the_environment_are_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as receiver, receiving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        sender = Sender(Policy(LOOPBACK, (receiver.port,)))
        got = await sender.send(claimed(receiver.url), now=1.0)
        await sender.aclose()

    assert got.is_success
    assert proxy.connections == 0


# --- many at a time ------------------------------------------------------------------------


async def test_two_at_a_time_go_to_an_endpoint_and_none_waits_for_another(scene: Scene) -> None:
    released = Flag()

    def answer(got: object) -> int:
        if getattr(got, "path", "") == "/hook/slow":
            released.wait(30)
        return 200

    with receiving(answer) as receiver:
        slow = await scene.endpoint(receiver, path="/slow")
        await scene.tell(6)
        quick = await scene.endpoint(receiver, path="/quick")
        await scene.tell(6)
        async with scene.delivering(receiver):
            await scene.until(quick, all_delivered)
            slow_ones = [got for got in receiver.got if got.path == "/hook/slow"]
            states = {one.state for one in await scene.deliveries(slow)}
            released.set()
            await scene.until(slow, all_delivered)

    assert len(slow_ones) == 2
    assert states == {DeliveryState.PENDING}
    assert receiver.most_busy <= 4
    assert set(Counter(got.id for got in receiver.got if "slow" in got.path).values()) == {1}


async def test_stop_gives_back_what_has_no_answer_yet(scene: Scene) -> None:
    arrived, released = Flag(), Flag()

    def answer(_: object) -> int:
        arrived.set()
        released.wait(30)
        return 200

    with receiving(answer) as receiver:
        hook = await scene.endpoint(receiver)
        await scene.tell()
        async with scene.delivering(receiver):
            await anyio.to_thread.run_sync(arrived.wait)
        released.set()
        async with scene.delivering(receiver):
            await scene.until(hook, all_delivered)

    assert len({got.id for got in receiver.got}) == 1


async def test_courier_outlives_a_store_that_is_gone_for_a_while(
    scene: Scene, clock: ManualClock, state_dir: Path
) -> None:
    with receiving() as receiver:
        hook = await scene.endpoint(receiver)
        file = state_dir / "records.sqlite3"
        await scene.database.aclose()
        file.rename(state_dir / "away")
        async with scene.delivering(receiver):
            await anyio.sleep(0.3)
            (state_dir / "away").rename(file)
            await scene.database.aclose()
            clock.advance(10)
            await scene.tell()
            await scene.until(hook, all_delivered)

    assert len(receiver.got) == 1


@contextmanager
def couriers(
    state_dir: Path, port: int, *, count: int = 1, ahead: float = 0
) -> Iterator[list[int]]:
    """Run couriers in processes of their own; yield their ids, and kill them at the end."""
    words = [sys.executable, "-m", "tests.server.courier_process"]
    started = [
        subprocess.Popen([*words, str(state_dir), str(port), str(ahead)], cwd=ROOT)
        for _ in range(count)
    ]
    try:
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()


async def test_courier_killed_between_send_and_record_delivers_again_under_the_same_id(
    database: Database, state_dir: Path
) -> None:
    scene = Scene(database, SystemClock())
    pids: list[int] = []
    died = Flag()

    def answer(_: object) -> int:
        if not died.is_set():
            died.set()
            os.kill(pids[0], signal.SIGKILL)
        return 200

    with receiving(answer) as receiver:
        hook = await scene.endpoint(receiver)
        with couriers(state_dir, receiver.port) as started:
            pids += started
            (told,) = await scene.tell()
            assert await anyio.to_thread.run_sync(died.wait, 30)
        (pending,) = await scene.deliveries(hook)
        assert pending.state is DeliveryState.PENDING
        with couriers(state_dir, receiver.port, ahead=60):
            await scene.until(hook, all_delivered)

    assert [got.id for got in receiver.got] == [told, told]


async def test_two_couriers_deliver_each_event_once(database: Database, state_dir: Path) -> None:
    scene = Scene(database, SystemClock())
    with receiving() as receiver:
        hooks = [await scene.endpoint(receiver, path=f"/{number}") for number in range(3)]
        with couriers(state_dir, receiver.port, count=2):
            told = await scene.tell(15)
            for hook in hooks:
                await scene.until(hook, lambda found: len(found) == 15 and all_delivered(found))

    assert Counter(got.id for got in receiver.got) == dict.fromkeys(told, 3)
    assert max(Counter((got.id, got.path) for got in receiver.got).values()) == 1


def corpus() -> list[str]:
    """All URLs of the corpus but those of public addresses, which a test must not dial."""
    return [case["url"] for case in CASES if case["code"] or not _is_literal(case["url"])]


def at_port(port: int) -> list[str]:
    """The hosts that the corpus blocks, and a name, at the canary's own port."""
    hosts = [urlsplit(case["url"]).netloc for case in CASES if case["code"] == "address_blocked"]
    hosts += ["h.com"]  # which resolves to the canary
    return [f"http://{host}:{port}/" for host in hosts if not host.rpartition("]")[2].count(":")]


def _is_literal(url: str) -> bool:
    try:
        ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """Yield the port of a server on loopback that says this to whoever has sent something."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
        except OSError:
            return

    thread = Thread(target=serve, daemon=True)
    thread.start()
    with closing(listener):
        yield int(listener.getsockname()[1])
    thread.join()
