"""Webhook: any software posts its new items here, and is told what to do by signed requests.

    your software --POST /items, signed---> inbox (SQLite) --> Item, Media
    pinclip       --POST /events, signed--> inbox          --> events(), for the runner
    your software <--POST target, signed--- apply, undo, notify         (see orders.py)

Signatures are those of Standard Webhooks, as sdk.webhooks has them. The target decides by its
status: 2xx done, 409 a person has acted since, 410 gone, 401 and 403 not allowed, 429 later.
Anything else counts as no answer: the same order comes again, under the same Idempotency-Key.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from sdk import events, webhooks
from sdk._retry import read_retry_after
from sdk.environment import Secret
from sdk.errors import APIResponseValidationError, InputError, WebhookSignatureError
from sdk.moderation.clock import SystemClock
from sdk.moderation.platform import (
    Action,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    PermissionLost,
    PlatformError,
    Plugin,
    RateLimited,
    UndoResult,
    UndoToken,
    Unsure,
)
from sdk.wire import Event

from .orders import (
    ItemLine,
    Order,
    action_order,
    media_of,
    notice_order,
    read_item,
    token_of,
    undo_order,
)
from .webhook_inbox import Door, Inbox, Kind, Posted, Reader, Refused
from .webhook_server import listening

ANSWER_SECONDS = 15.0
"""How long the target may take to answer, as pinclip's own deliveries have it."""
RETRY_SECONDS = 60.0
"""How long a target is left alone that says 429 and not for how long."""

_log = logging.getLogger("pinclip.bot.webhook")


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """Where items are taken and where orders go."""

    webhook_bot_secret: Secret
    """Signs items and orders, both ways: whsec_ and 32 random bytes in base64."""
    webhook_bot_target: str
    """URL of your software that is told what to do, by POST."""
    webhook_secret: Secret = Secret("")
    """Secret of the endpoint at the pinclip server that posts to /events; empty takes none."""
    webhook_bot_host: str = "127.0.0.1"
    """Address to listen on; keep a proxy with TLS before any other than this machine's."""
    webhook_bot_port: int = 8418
    """TCP port to listen on; 0 takes a free one."""
    webhook_bot_inbox: Path = Path("pinclip-inbox.sqlite3")
    """File that keeps what was posted until it is handled."""

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        for name in ("webhook_bot_secret", "webhook_secret"):
            if (secret := getattr(self, name)) and not _is_secret(secret):
                yield f"PINCLIP_{name.upper()} is no secret: set whsec_ and 32 bytes in base64."
        target = urlsplit(self.webhook_bot_target)
        if target.scheme not in ("http", "https") or not target.hostname:
            yield (
                f"PINCLIP_WEBHOOK_BOT_TARGET is {self.webhook_bot_target.split('?')[0]!r}: set it "
                "to an http or https URL of your software."
            )
        if not 0 <= self.webhook_bot_port <= 65535:
            yield f"PINCLIP_WEBHOOK_BOT_PORT is {self.webhook_bot_port}: use 0 to 65535."


class Webhook:
    """Any software as a platform: items come by an inbox, orders go to one target.

    `address` is where it listens, as in http://127.0.0.1:8418.
    """

    capabilities = frozenset(Capability)

    def __init__(
        self, inbox: Inbox, *, address: str, http: httpx.AsyncClient, target: str, secret: Secret
    ) -> None:
        self.address = address
        self._inbox = inbox
        self._http = http
        self._target = target
        self._shown = target.split("?")[0]
        self._secret = secret
        self._clock = SystemClock()

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield what was posted behind the cursor, or all that is in the inbox, and wait."""
        async for row in self._inbox.rows(Kind.ITEM, after=int(after or 0)):
            n = str(row.n)
            yield msgspec.json.decode(row.body, type=ItemLine).item(cursor=n, n=n)

    async def events(self) -> AsyncIterator[Event]:
        """Yield the pinclip server's own events, oldest first, and wait for more.

        One counts as handled when the next is asked for; until then it comes again.
        """
        async for row in self._inbox.rows(Kind.EVENT, after=None):
            yield events.read(row.body)

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the images as they were posted."""
        body = await self._inbox.body(int(item.extra["n"]))
        if body is None:
            raise ItemGone(
                f"What was posted about {item.id!r} is not in the inbox any more.",
                hint="Post the item again if it is still to be looked at.",
            )
        images = msgspec.json.decode(body, type=ItemLine).images
        return [media_of(image, str(index)) for index, image in enumerate(images)]

    async def exempt(self, item: Item) -> bool:
        """Tell if the post said so."""
        return "exempt" in item.extra

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Order it, under a key that is the same for the same action."""
        status = await self._order(action_order(item, action))
        if status == 410:
            raise ItemGone(f"{self._shown} says that {item.id!r} is gone.")
        if status == 409:
            raise PlatformError(
                f"{self._shown} says that a person has acted on {item.id!r}.",
                hint="Leave the item to them.",
            )
        return token_of(item, action)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Order it; the target knows whether a person has acted since."""
        status = await self._order(undo_order(token))
        return {410: UndoResult.GONE, 409: UndoResult.KEPT_FOR_HUMAN}.get(status, UndoResult.UNDONE)

    async def notify(self, item: Item, notice: Notice) -> None:
        """Order it; that the item is gone is no fault."""
        await self._order(notice_order(item, notice))

    async def _order(self, order: Order) -> int:
        """Return the status, one of 2xx, 409 and 410; raises PlatformError for any other."""
        body = msgspec.json.encode(order)
        kind = type(order).__struct_config__.tag
        name = f"order_{sha256(f'{kind} {order.key}'.encode()).hexdigest()[:32]}"
        now = int(self._clock.now())
        headers = {
            **webhooks.sign(body, self._secret, event_id=name, timestamp=now),
            "content-type": "application/json",
            "idempotency-key": f'"{name}"',
        }
        try:
            answer = await self._http.post(self._target, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Unsure(
                f"{self._shown} did not answer ({type(error).__name__}): {kind} of {order.item!r} "
                "may be done or not."
            ) from error
        return self._judged(answer, order)

    def _judged(self, answer: httpx.Response, order: Order) -> int:
        status = answer.status_code
        said = f"{self._shown} answered {status} about {order.item!r}"
        if 200 <= status < 300 or status in (409, 410):
            return status
        if status in (401, 403):
            raise PermissionLost(
                f"{said}.", hint="Check that both sides have the same PINCLIP_WEBHOOK_BOT_SECRET."
            )
        if status in (429, 503):
            asked = read_retry_after(
                answer.headers.get("retry-after"), date=answer.headers.get("date")
            )
            patience = RETRY_SECONDS if asked is None or not math.isfinite(asked) else asked
            raise RateLimited(f"{said}.", retry_after=patience)
        if status >= 500:
            raise Unsure(f"{said}: it may be done or not.")
        raise PlatformError(
            f"{said}.", hint="Answer 2xx, 401, 403, 409, 410 or 429, as docs/guides/webhook.md has."
        )


@asynccontextmanager
async def open_webhook(settings: WebhookSettings) -> AsyncIterator[Webhook]:
    """Listen for items and events as long as the context lasts."""
    # Without TLS there is nothing to verify, and loading certificates takes 40 ms.
    is_secure = settings.webhook_bot_target.startswith("https:")
    with closing(Inbox(settings.webhook_bot_inbox)) as inbox:
        async with (
            listening(
                Door(inbox, _readers(settings)),
                host=settings.webhook_bot_host,
                port=settings.webhook_bot_port,
                setting="PINCLIP_WEBHOOK_BOT_PORT",
            ) as address,
            httpx.AsyncClient(timeout=ANSWER_SECONDS, verify=is_secure) as http,
        ):
            _log.info("Items are taken at %s/items.", address)
            yield Webhook(
                inbox,
                address=address,
                http=http,
                target=settings.webhook_bot_target,
                secret=settings.webhook_bot_secret,
            )


PLUGIN = Plugin(settings=WebhookSettings, open=open_webhook)


def _readers(settings: WebhookSettings) -> dict[str, Reader]:
    """Return how each path is read; raises InputError for a secret that is none."""
    readers = {"/items": partial(_read_item, secret=settings.webhook_bot_secret)}
    if settings.webhook_secret:
        readers["/events"] = partial(_read_event, secret=settings.webhook_secret)
    for reader in readers.values():
        webhooks.sign(b"", reader.keywords["secret"], event_id="trial", timestamp=0)
    return dict(readers)


def _read_item(body: bytes, headers: Mapping[str, str], *, secret: Secret) -> Posted:
    _fault_of_event(body, headers, secret=secret)  # signed, and need not be one
    try:
        read_item(body)
    except InputError as error:
        raise Refused(400, "item_unreadable", str(error)) from error
    return Posted(Kind.ITEM, delivery=headers["webhook-id"], body=body)


def _read_event(body: bytes, headers: Mapping[str, str], *, secret: Secret) -> Posted:
    if (fault := _fault_of_event(body, headers, secret=secret)) is not None:
        raise Refused(400, "event_unreadable", str(fault)) from fault
    return Posted(Kind.EVENT, delivery=headers["webhook-id"], body=body)


def _fault_of_event(body: bytes, headers: Mapping[str, str], *, secret: Secret) -> Exception | None:
    """Return why a signed body is no event of pinclip, None if it is one; refuses the unsigned."""
    try:
        webhooks.unwrap(body, headers, secret)
    except WebhookSignatureError as error:
        raise Refused(401, error.code, str(error)) from error
    except (APIResponseValidationError, RecursionError) as error:
        return error
    return None


def _is_secret(text: str) -> bool:
    try:
        webhooks.sign(b"", text, event_id="trial", timestamp=0)
    except InputError:
        return False
    return True
