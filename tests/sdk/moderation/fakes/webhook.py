"""Somebody's forum: posts its items to the bot, signed, and obeys the orders that it is sent.

It signs and verifies with the standard's own library, and repeats what the bot did not take.
"""

from __future__ import annotations

import base64
import json
import queue
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sdk.moderation.clock import SystemClock
from tests.sdk.moderation.fakes.loopback import Unreliable

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
EVENTS_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


def signed(body: bytes, *, delivery: str, secret: str = SECRET, age: float = 0) -> dict[str, str]:
    """Return the headers that the standard's own library makes."""
    at = datetime.fromtimestamp(SystemClock().now() - age, UTC)
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(delivery, at, body.decode()),
    }


class FakeForum:
    """`app` takes the orders; `bot` is where items go, or None while no bot runs."""

    def __init__(self) -> None:
        self.app = Unreliable(Starlette(routes=[Route("/orders", self._take, methods=["POST"])]))
        self.bot: str | None = None
        self.http = httpx.Client(verify=False, trust_env=False)
        self.orders: list[dict[str, Any]] = []
        """Every order that was obeyed, in its order."""
        self.heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        """The type of each, for who waits for it."""
        self.answers: list[tuple[int, dict[str, str]]] = []
        """What to answer instead of obeying, first to last."""
        self.is_forbidden = False
        self._limited_until = 0.0
        self._obeyed: dict[str, int] = {}
        self._outbox: list[tuple[str, bytes]] = []
        self._posts: dict[str, int] = {}
        self._deleted: set[str] = set()
        self._decided: set[str] = set()

    def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        item_id = f"post/{len(self._posts) + 1}"
        self._tell(item_id, images, exempt=is_exempt)
        return item_id

    def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        self._tell(item_id, images)

    def delete(self, item_id: str) -> None:
        self._deleted.add(item_id)

    def human_acts(self, item_id: str) -> None:
        self._decided.add(item_id)

    def limit(self, seconds: float) -> None:
        self._limited_until = time.monotonic() + seconds

    def flush(self) -> None:
        """Send what the bot has not taken yet."""
        while self.bot and self._outbox:
            delivery, body = self._outbox[0]
            headers = signed(body, delivery=delivery)
            answer = self.http.post(f"{self.bot}/items", content=body, headers=headers)
            assert answer.status_code == 202, answer.text
            self._outbox.pop(0)

    def in_force(self, item_id: str) -> list[str]:
        done: dict[str, str] = {}
        for order in self.orders:
            if order["item"] == item_id and order["type"] == "action":
                done[order["key"]] = order["kind"]
            elif order["item"] == item_id and order["type"] == "undo":
                done.pop(order["key"], None)
        return list(done.values())

    def notices(self, item_id: str) -> list[str]:
        return [
            f"{order['text']} {order.get('appeal_url', '')}"
            for order in self.orders
            if order["type"] == "notice" and order["item"] == item_id
        ]

    def _tell(self, item_id: str, images: Sequence[bytes], **more: Any) -> None:
        revision = self._posts[item_id] = self._posts.get(item_id, 0) + 1
        urls = [f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in images]
        item = {"id": item_id, "revision": str(revision), "images": urls, **more}
        self._outbox.append((f"msg_{len(self._posts)}_{revision}", json.dumps(item).encode()))
        self.flush()

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        Webhook(SECRET).verify(body.decode(), dict(request.headers))
        order, key = json.loads(body), request.headers["idempotency-key"]
        if self.answers:
            status, headers = self.answers.pop(0)
            return Response(status_code=status, headers=headers)
        if (wait := self._limited_until - time.monotonic()) > 0:
            return Response(status_code=429, headers={"retry-after": str(int(wait) + 1)})
        if self.is_forbidden:
            return Response(status_code=403)
        if key not in self._obeyed:
            self._obeyed[key] = self._obey(order)
        return Response(status_code=self._obeyed[key])

    def _obey(self, order: dict[str, Any]) -> int:
        if order["item"] in self._deleted:
            return 410
        if order["type"] == "undo" and order["item"] in self._decided:
            return 409
        self.orders.append(order)
        self.heard.put(order["type"])
        return 204
