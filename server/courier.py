"""HTTP DOOR: delivers events to endpoints, signed, until each has arrived or is given up.

    run    claim what is due -> deliver each in a task of its own -> rest: a bell, or 1 s
    `- _deliver    sign anew -> POST, 15 s for all of it -> record: delivered, again, or failed
       `- Sender   one pool over worker/dial.py: each connection looked up, checked and pinned

The deliveries are rows (store/deliveries.py), leased for longer than an attempt can take: what a
courier that died had in hand is sent by another, under the same webhook-id, so each event arrives
at least once. Two at a time go to one endpoint, and a slow one holds up no other. An answer is its
status; its body is read to 4 KiB, only to keep the connection, and redirects are not followed.
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from urllib.parse import urlsplit

import anyio
import httpcore
import structlog
from standardwebhooks import Webhook

from sdk._retry import read_retry_after
from sdk.codes import ProblemCode
from worker.dial import TROUBLE, GuardedBackend, Names, NotDialled, Resolver, system_resolver, why
from worker.guard import Policy, Target, UrlRefused, check_url

from .metrics import DeliveryOutcome, Metrics
from .ports import Clock, Unavailable
from .rules.deliveries import Answer, Health, Next, follow
from .rules.webhooks import live
from .store.deliveries import Claimed, SqlDeliveries

TIMEOUT_SECONDS = 15.0
"""Longest attempt: look-up, connection, request and answer."""
LEASE_SECONDS = 45.0
"""How long a delivery is ours: an attempt, the longest wait for the store, and as much again."""
PER_ENDPOINT = 2
"""Most attempts at a time to one endpoint."""
AT_ONCE = 100
"""Most attempts at a time of one process."""
BODY_LIMIT_BYTES = 4096
"""How much of an answer is read, so that the connection can be used again."""
BODY_SECONDS = 1.0
"""How long we wait for that; by then the delivery has been taken or not."""
POLL_SECONDS = 1.0
"""Time between two looks for what is due."""
MEND_SECONDS = 30.0
"""Time between two looks for what a race left behind, and for what is overdue."""
REST_SECONDS = 5.0
"""Pause while the store is down."""
IDLE_SECONDS = 15.0
"""How long a connection is kept for another delivery."""

_USER_AGENT = f"pinclip/{version('pinclip')}"
_log = structlog.get_logger(__name__)


class Bell:
    """Rung after a commit that added deliveries, so that the courier looks at once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Wake the courier of this process."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when it has been rung since the last time, or after so many seconds."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self._event = anyio.Event()


class Courier:
    """Delivers what is due. `run` must run as long as the server does."""

    def __init__(
        self,
        *,
        deliveries: SqlDeliveries,
        sender: Sender,
        clock: Clock,
        bell: Bell,
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._deliveries = deliveries
        self._sender = sender
        self._clock = clock
        self._bell = bell
        self._metrics = metrics
        self._draw = draw
        self._busy: Counter[str] = Counter()
        self._mended_at = float("-inf")
        self._is_waiting = False

    async def run(self) -> None:
        """Deliver until cancelled; no failure ends it. What is under way then is given back."""
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    taken = await self._claim()
                    await self._mend()
                    self._is_waiting = False
                except Unavailable as error:
                    taken = []
                    await self._wait_for_store(error)
                except Exception as error:
                    taken = []
                    _log.error("task_failed", task="courier", exc_info=error)
                for claimed in taken:
                    tasks.start_soon(self._deliver, claimed)
                await self._bell.wait(0 if taken else POLL_SECONDS)

    async def _claim(self) -> list[Claimed]:
        room = AT_ONCE - self._busy.total()
        if room <= 0:
            return []
        full = [endpoint for endpoint, count in self._busy.items() if count >= PER_ENDPOINT]
        taken = await self._deliveries.claim(
            now=self._clock.now(),
            lease_seconds=LEASE_SECONDS,
            limit=room,
            per_endpoint=PER_ENDPOINT,
            but_not=full,
        )
        self._busy.update(claimed.endpoint_id for claimed in taken)
        return taken

    async def _mend(self) -> None:
        now = self._clock.monotonic()
        if now - self._mended_at >= MEND_SECONDS:
            self._mended_at = now
            overdue = await self._deliveries.mend(now=self._clock.now())
            self._metrics.deliveries_wait(oldest_seconds=overdue)

    async def _deliver(self, claimed: Claimed) -> None:
        """Make one attempt and record it; a stop before its answer gives it back."""
        try:
            answer = await self._sender.send(claimed, now=self._clock.now())
            with anyio.CancelScope(shield=True):
                await self._record(claimed, answer)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._give_back(claimed)
            raise
        except Unavailable as error:
            # The lease ends, and it is sent again.
            _log.warning("delivery_unrecorded", delivery_id=claimed.id, reason=str(error))
        except Exception as error:
            _log.error("delivery_broke", delivery_id=claimed.id, exc_info=error)
        finally:
            self._leave(claimed.endpoint_id)

    async def _record(self, claimed: Claimed, answer: Answer) -> None:
        now = self._clock.now()
        decide = partial(_decide, answer, claimed, now, self._draw())
        following = await self._deliveries.record(claimed, answer, decide=decide, now=now)
        log = _log.bind(
            delivery_id=claimed.id,
            event_id=claimed.event_id,
            endpoint_id=claimed.endpoint_id,
            host=urlsplit(claimed.url).hostname,
        )
        if following is None:
            log.warning("delivery_lease_lost")
            return
        self._metrics.delivered(_outcome(answer, following))
        if answer.is_success:
            log.info("delivered", attempts=claimed.attempts)
            return
        log.info("delivery_failed", reason=answer.reason, is_last=following.at is None)
        if following.warn_days is not None:
            log.warning("endpoint_failing", days=following.warn_days)
        if following.disabled is not None:
            log.warning("endpoint_disabled", reason=following.disabled)
            self._metrics.endpoint_disabled()
            self._bell.ring()  # the owner's other endpoints hear of it

    async def _give_back(self, claimed: Claimed) -> None:
        try:
            await self._deliveries.release([claimed], now=self._clock.now())
        except Unavailable:
            return  # the lease ends by itself

    def _leave(self, endpoint_id: str) -> None:
        self._busy[endpoint_id] -= 1
        if not self._busy[endpoint_id]:
            del self._busy[endpoint_id]
        self._bell.ring()

    async def _wait_for_store(self, error: Unavailable) -> None:
        if not self._is_waiting:
            _log.warning("task_waits", task="courier", reason=str(error))
        self._is_waiting = True
        await self._clock.sleep(REST_SECONDS)


class Sender:
    """Makes attempts, over connections that are checked and pinned. Raises nothing of the wire."""

    def __init__(
        self,
        policy: Policy,
        *,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore.default_ssl_context(),
            max_connections=AT_ONCE + 1,  # never the limit: attempts are counted elsewhere
            max_keepalive_connections=AT_ONCE,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=GuardedBackend(Names(policy, resolver=resolver)),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def send(self, claimed: Claimed, *, now: float) -> Answer:
        """Return what the endpoint answered to the event, or why there is no answer."""
        try:
            target = check_url(claimed.url, self._policy)
        except UrlRefused as refused:  # the policy has become stricter since it was registered
            return _refused(refused)
        with anyio.move_on_after(self._timeout_seconds):
            return await self._attempt(target, claimed, now)
        return Answer(
            status=None, reason=f"{target.host} gave no answer within {self._timeout_seconds:g} s."
        )

    async def _attempt(self, target: Target, claimed: Claimed, now: float) -> Answer:
        try:
            return await self._post(target, _request(target, claimed, now))
        except NotDialled as refused:
            return Answer(status=None, reason=refused.detail)
        except TROUBLE as error:
            return Answer(status=None, reason=f"{target.host} gave no answer: {why(error)}.")

    async def _post(self, target: Target, request: httpcore.Request) -> Answer:
        response = await self._pool.handle_async_request(request)
        try:
            await _drain(response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        return _answer(response, target.host)


def _outcome(answer: Answer, following: Next) -> DeliveryOutcome:
    if answer.is_success:
        return DeliveryOutcome.DELIVERED
    return DeliveryOutcome.GIVEN_UP if following.at is None else DeliveryOutcome.RETRIED


def _decide(answer: Answer, claimed: Claimed, now: float, draw: float, health: Health) -> Next:
    return follow(answer, attempts=claimed.attempts, health=health, now=now, draw=draw)


def _request(target: Target, claimed: Claimed, now: float) -> httpcore.Request:
    """Return the event as it is sent now, with a time and signatures of this attempt."""
    _, _, place, path = target.url.split("/", 3)
    body = claimed.body.encode()
    # In UTC, always: the library signs another time without a word for any other zone.
    at = datetime.fromtimestamp(int(now), UTC)
    signatures = [
        Webhook(signing.secret).sign(claimed.event_id, at, claimed.body)
        for signing in live(claimed.secrets, now=now)
    ]
    return httpcore.Request(
        "POST",
        httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=f"/{path}"),
        headers={
            "Host": place,
            "User-Agent": _USER_AGENT,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept-Encoding": "identity",
            "webhook-id": claimed.event_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(signatures),
        },
        content=body,
    )


async def _drain(response: httpcore.Response) -> None:
    """Read a short body to its end, so that its connection can be used again."""
    size = 0
    try:
        with anyio.move_on_after(BODY_SECONDS):
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size > BODY_LIMIT_BYTES:
                    return
    except TROUBLE:
        return  # the status has been said


def _answer(response: httpcore.Response, host: str) -> Answer:
    status = response.status
    reason = f"{host} answered with status {status}."
    if 300 <= status < 400:
        reason = f"{host} answered with status {status}; redirects are not followed."
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    retry_after = read_retry_after(headers.get(b"retry-after"), date=headers.get(b"date"))
    return Answer(status=status, reason=reason, retry_after=retry_after)


def _refused(refused: UrlRefused) -> Answer:
    is_blocked = refused.code is ProblemCode.ADDRESS_BLOCKED
    what = "may not be reached" if is_blocked else "cannot be used"
    return Answer(status=None, reason=f"The URL {what}: {refused.detail}")
