"""A Mastodon server as far as the adapter can see: posts, reports, mentions, limits, a webhook.

The shapes are those of docs.joinmastodon.org (entities Status, MediaAttachment, Account, Report
and Admin::Report; error {"error": ...}; X-RateLimit-Reset as a time of day; the webhook's event
{event, created_at, object}, and its X-Hub-Signature as WebSub has it). What the webhook could not
deliver is lost, as after Mastodon's last try.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from tests.sdk.moderation.fakes.loopback import Looks, Unreliable

BOT = "900"
AUTHOR = "100"
MODERATOR = "1"
TOKEN = "secret-of-the-bot"
WEBHOOK_SECRET = "0123456789abcdef0123456789abcdef01234567"
SCOPES = {
    ("GET", "/api/v1/accounts/verify_credentials"): "read:accounts",
    ("GET", "/api/v1/timelines/public"): "read:statuses",
    ("GET", "/api/v1/statuses"): "read:statuses",
    ("POST", "/api/v1/statuses"): "write:statuses",
    ("POST", "/api/v1/reports"): "write:reports",
    ("GET", "/api/v1/admin/reports"): "admin:read:reports",
    ("POST", "/api/v1/admin/reports"): "admin:write:reports",
}
"""What a token must have for each call, by the beginning of its path."""


class FakeMastodon:
    """The state, and what people and administrators do to it; `app` is its API."""

    def __init__(self) -> None:
        self.hook: str | None = None
        """Where the webhook posts, or None while it cannot."""
        self.answers: list[int] = []
        """The status of each delivery."""
        self.statuses: dict[str, dict[str, Any]] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.mentions: list[dict[str, str]] = []
        self._limited_until = datetime.min.replace(tzinfo=UTC)
        self.is_forbidden = False
        self.token = TOKEN
        self.scopes = set(SCOPES.values())
        self.page_size = 40
        self.looks = Looks()
        self.is_down = False
        self._now = datetime(2026, 11, 1, tzinfo=UTC)
        self._asked_before: set[str] = set()
        api = Litestar(
            [_me, _instance, _local, _status, _report, _reports, _read, _resolve, _say],
            before_request=self._refuse,
            openapi_config=None,
            state=State({"fake": self}),
        )
        self.app = Unreliable(api)

    def post(self, images: int, *, roles: tuple[str, ...] = (), **fields: Any) -> str:
        """Publish a post; returns its id. `fields` are others of its Status."""
        identity = str(110_000_000_000 + len(self.statuses))
        self.statuses[identity] = {
            "id": identity,
            "created_at": self._tick(),
            "edited_at": None,
            "visibility": "public",
            "in_reply_to_account_id": None,
            "reblog": None,
            "content": "<p>Look at this</p>",
            "url": f"https://social.example/@author/{identity}",
            "account": {
                "id": AUTHOR,
                "acct": "author",
                "bot": False,
                "roles": [{"id": "3", "name": name, "color": ""} for name in roles],
            },
            "media_attachments": self._attached(identity, images),
            **fields,
        }
        self.tell("status.created", self.statuses[identity])
        return identity

    def edit(self, identity: str, images: int) -> None:
        status = self.statuses[identity]
        status["edited_at"] = self._tick()
        status["media_attachments"] = self._attached(f"{identity}e", images)
        self.tell("status.updated", status)

    def tell(self, event: str, about: dict[str, Any]) -> None:
        """Let the webhook tell of it, if it can."""
        if self.hook is not None:
            body = told(event, about)
            self.answers.append(deliver(self.hook, body, signature=signature_of(body)).status_code)

    def limit(self, seconds: float) -> None:
        self._limited_until = _now() + timedelta(seconds=seconds)

    def delete(self, identity: str) -> None:
        del self.statuses[identity]

    def reports_about(self, identity: str) -> list[dict[str, Any]]:
        """Return the reports about a post that nobody has resolved."""
        return [
            report
            for report in self.reports.values()
            if identity in report["status_ids"] and not report["action_taken"]
        ]

    def moderator_takes_up(self, identity: str) -> None:
        """Let a person assign the reports about a post to themselves."""
        for report in self.reports_about(identity):
            report["assigned_account"] = {"id": MODERATOR}

    def moderator_resolves(self, identity: str) -> None:
        for report in self.reports_about(identity):
            self.resolve(report, by=MODERATOR)

    def resolve(self, report: dict[str, Any], *, by: str) -> None:
        report["action_taken"] = True
        report["action_taken_at"] = self._tick()
        report["action_taken_by_account"] = {"id": by}

    def _attached(self, stem: str, images: int) -> list[dict[str, Any]]:
        names = [f"{stem}-{number}" for number in range(images)]
        return [
            {"id": name, "type": "image", "url": f"https://files.social.example/{name}.png"}
            for name in names
        ]

    def _tick(self) -> str:
        self._now += timedelta(seconds=1)
        return self._now.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def _refuse(self, request: Request[Any, Any, Any]) -> Response[Any] | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _problem(401, "The access token is invalid")
        needed = {
            scope
            for (method, path), scope in SCOPES.items()
            if method == request.method and request.url.path.startswith(path)
        }
        if not needed <= self.scopes:
            return _problem(403, "This action is outside the authorized scopes")
        if self.is_down:
            return _problem(502, "Bad gateway")
        if self._limited_until > _now():
            until = self._limited_until.isoformat()
            headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": until}
            return _problem(429, "Too many requests", headers)
        if self.is_forbidden and "report" in request.url.path:
            return _problem(403, "This action is not allowed")
        return None


def told(event: str, about: dict[str, Any]) -> bytes:
    """Return the body of a delivery."""
    at = "2026-11-01T12:00:00.000Z"
    return json.dumps({"event": event, "created_at": at, "object": about}).encode()


def signature_of(body: bytes, *, secret: str = WEBHOOK_SECRET) -> str:
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def deliver(hook: str, body: bytes, *, signature: str | None) -> httpx.Response:
    headers = [(b"Content-Type", b"application/json")]
    if signature is not None:
        headers.append((b"X-Hub-Signature", signature.encode("latin-1")))
    # Certificates would take 40 ms; a connection that is kept would outlive its test.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(verify=False, trust_env=False, limits=limits) as http:
        return http.post(hook, content=body, headers=headers)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the library compares it with this machine's clock


def _problem(status: int, error: str, headers: dict[str, str] | None = None) -> Response[Any]:
    return Response({"error": error}, status_code=status, headers=headers)


def _fake(request: Request[Any, Any, Any]) -> FakeMastodon:
    return request.app.state.fake  # type: ignore[no-any-return]


async def _form(request: Request[Any, Any, Any]) -> dict[str, list[str]]:
    return parse_qs((await request.body()).decode())


@get("/api/v1/accounts/verify_credentials")
async def _me() -> dict[str, Any]:
    return {"id": BOT, "acct": "pinclip", "username": "pinclip"}


@get("/api/v2/instance")
async def _instance() -> dict[str, Any]:
    return {"domain": "social.example", "version": "4.5.0", "configuration": {}}


@get("/api/v1/timelines/public")
async def _local(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
    fake, query = _fake(request), request.query_params
    assert query["local"] == query["only_media"] == "1"
    before = query.get("max_id", "~")
    newest = sorted(fake.statuses.values(), key=lambda it: it["id"], reverse=True)
    shown = [it for it in newest if it["id"] < before and _is_in_timeline(it)]
    fake.looks.saw()
    return shown[: min(int(query["limit"]), fake.page_size)]


def _is_in_timeline(status: dict[str, Any]) -> bool:
    return (
        bool(status["media_attachments"])
        and status["visibility"] == "public"
        and status["reblog"] is None
        and status["in_reply_to_account_id"] in (None, status["account"]["id"])
    )


@get("/api/v1/statuses/{identity:str}")
async def _status(request: Request[Any, Any, Any]) -> Any:
    return _fake(request).statuses.get(request.path_params["identity"]) or _problem(
        404, "Record not found"
    )


@post("/api/v1/reports", status_code=200)
async def _report(request: Request[Any, Any, Any]) -> Any:
    fake, form = _fake(request), await _form(request)
    comment = form["comment"][0]
    if len(comment) > 1000:
        return _problem(422, "Validation failed: Comment is too long (maximum is 1000 characters)")
    report = {
        "id": str(len(fake.reports) + 1),
        "action_taken": False,
        "action_taken_at": None,
        "category": form["category"][0],
        "comment": comment,
        "status_ids": form["status_ids[]"],
        "account": {"id": BOT},
        "target_account": {"id": form["account_id"][0]},
        "assigned_account": None,
        "action_taken_by_account": None,
    }
    fake.reports[report["id"]] = report
    return report


@get("/api/v1/admin/reports")
async def _reports(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
    query = request.query_params
    return [
        report
        for report in _fake(request).reports.values()
        if report["action_taken"] == ("resolved" in query)
        and report["account"]["id"] == query["account_id"]
        and report["target_account"]["id"] == query["target_account_id"]
    ]


@get("/api/v1/admin/reports/{identity:str}")
async def _read(request: Request[Any, Any, Any]) -> Any:
    return _fake(request).reports.get(request.path_params["identity"]) or _problem(
        404, "Record not found"
    )


@post("/api/v1/admin/reports/{identity:str}/resolve", status_code=200)
async def _resolve(request: Request[Any, Any, Any]) -> Any:
    fake = _fake(request)
    report = fake.reports[request.path_params["identity"]]
    fake.resolve(report, by=BOT)
    return report


@post("/api/v1/statuses", status_code=200)
async def _say(request: Request[Any, Any, Any]) -> Any:
    fake, form = _fake(request), await _form(request)
    text = form["status"][0]
    if len(text) > 500:
        return _problem(422, "Validation failed: Text character limit of 500 exceeded")
    if request.headers["idempotency-key"] not in fake._asked_before:
        fake._asked_before.add(request.headers["idempotency-key"])
        fake.mentions.append({"text": text, "visibility": form["visibility"][0]})
    return {"id": "500", "content": text, "visibility": form["visibility"][0]}
