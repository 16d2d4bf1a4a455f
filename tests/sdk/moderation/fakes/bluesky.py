"""A Bluesky server (PDS) with its view of posts, and the Ozone labeler that it passes calls on to.

Accounts log in at the entryway, 127.0.0.1, which names their own server: localhost.
The shapes are those of the lexicons (app.bsky.feed, tools.ozone.moderation, tools.ozone.team;
error {"error": ..., "message": ...}; RateLimit-Reset in seconds of Unix time). As in Ozone, an
event with an external id that the post has already is refused, and the server notes itself who
did it.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from tests.sdk.moderation.fakes.loopback import Looks, Unreliable

BOT = "did:plc:botbotbotbotbotbotbotbot"
LABELER = "did:plc:labelerlabelerlabelerlab"
MODERATOR = "did:plc:moderatormoderatormodera"
AUTHOR = "did:plc:authorauthorauthorauthor"
HANDLE, PASSWORD = "bot.example.com", "abcd-efgh-ijkl-mnop"
LIST = f"at://{LABELER}/app.bsky.graph.list/3kwatched"
CID = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
DEFS = "tools.ozone.moderation.defs#"


class FakeBluesky:
    """The state, and what people do to it; `app` is the API."""

    def __init__(self) -> None:
        self.posts: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.looks = Looks()
        self.is_moderator = True
        self.is_down = False
        self.page_size = 100
        self._limited_until = datetime.min.replace(tzinfo=UTC)
        self._clock = datetime(2026, 11, 1, tzinfo=UTC)
        api = Litestar(
            [_log_in, _who, _list, _posts, _emit, _events, _team],
            before_request=self._refuse,
            openapi_config=None,
            state=State({"fake": self}),
        )
        self.app = Unreliable(api)

    def post(self, images: int, *, author: str = AUTHOR, embed: str = "images") -> str:
        """Publish a post and return its address; `embed` is how it holds its images."""
        uri = f"at://{author}/app.bsky.feed.post/3k{len(self.posts):011}"
        self._clock += timedelta(seconds=1)
        self.posts[uri] = {
            "$type": "app.bsky.feed.defs#postView",
            "uri": uri,
            "cid": CID,
            "author": {"did": author, "handle": "author.example.com"},
            "record": {"$type": "app.bsky.feed.post", "text": "", "createdAt": self._now()},
            "indexedAt": self._now(),
            "embed": _embed(uri, images, embed),
        }
        return uri

    def delete(self, uri: str) -> None:
        del self.posts[uri]

    def limit(self, seconds: float) -> None:
        self._limited_until = _now() + timedelta(seconds=seconds)

    def log(self, uri: str, event: dict[str, Any], *, by: str, external_id: str = "") -> None:
        """Let somebody act on a post."""
        self.events.append(
            {
                "id": len(self.events) + 1,
                "event": event,
                "subject": {"$type": "com.atproto.repo.strongRef", "uri": uri, "cid": CID},
                "subjectBlobCids": [],
                "createdBy": by,
                "createdAt": "2026-11-01T00:00:00.000Z",
                "external": external_id,
            }
        )

    def labels(self, uri: str) -> list[str]:
        """Return the labels on a post, from the events; Ozone puts none on twice."""
        found: list[str] = []
        for event in self.about(uri, "modEventLabel"):
            found = [label for label in found if label not in event["negateLabelVals"]]
            found += [label for label in event["createLabelVals"] if label not in found]
        return found

    def open_reports(self, uri: str) -> int:
        """Return how many reports nobody has closed."""
        count = 0
        for event in self.about(uri, "modEvent"):
            kind = event["$type"].removeprefix(DEFS)
            count = 0 if kind == "modEventAcknowledge" else count + (kind == "modEventReport")
        return count

    def about(self, uri: str, kind: str) -> list[dict[str, Any]]:
        return [
            event["event"]
            for event in self.events
            if event["subject"]["uri"] == uri and event["event"]["$type"].startswith(DEFS + kind)
        ]

    def _now(self) -> str:
        return self._clock.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def _refuse(self, request: Request[Any, Any, Any]) -> Response[Any] | None:
        if self.is_down:
            return _problem(503, "ServiceUnavailable", "Try later")
        if self._limited_until > _now():
            reset = str(int(self._limited_until.timestamp()) + 1)
            return _problem(429, "RateLimitExceeded", "Slow down", {"RateLimit-Reset": reset})
        if (request.url.hostname == "localhost") == request.url.path.endswith(".createSession"):
            return _problem(400, "WrongServer", "Log in at the entryway, then call your own PDS")
        is_ozone = "/tools.ozone." in request.url.path
        is_passed_on = request.headers.get("atproto-proxy") == f"{LABELER}#atproto_labeler"
        if is_ozone != is_passed_on:
            return _problem(501, "MethodNotImplemented", "The call is for another server")
        if is_ozone and not self.is_moderator:
            return _problem(401, "AuthMissing", "Must be a full moderator to label content")
        return None


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the adapter compares it with this machine's clock


def _problem(
    status: int, error: str, message: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    return Response({"error": error, "message": message}, status_code=status, headers=headers)


def _fake(request: Request[Any, Any, Any]) -> FakeBluesky:
    return request.app.state.fake  # type: ignore[no-any-return]


def _embed(uri: str, images: int, how: str) -> dict[str, Any] | None:
    if how == "none":
        return None
    names = [f"{uri.rsplit('/', 1)[-1]}{number}" for number in range(images)]
    urls = [f"https://cdn.example/img/feed_fullsize/plain/{AUTHOR}/{name}" for name in names]
    if how == "gallery":
        shape = {"alt": "", "aspectRatio": {"width": 1, "height": 1}}
        kind = "app.bsky.embed.gallery#viewImage"
        items = [{"$type": kind, "fullsize": url, "thumbnail": url, **shape} for url in urls]
        return {"$type": "app.bsky.embed.gallery#view", "items": items}
    shown = [{"fullsize": url, "thumb": url, "alt": ""} for url in urls]
    view = {"$type": "app.bsky.embed.images#view", "images": shown}
    if how == "images":
        return view
    quoted = {
        "$type": "app.bsky.embed.record#viewNotFound",
        "uri": f"at://{AUTHOR}/app.bsky.feed.post/3kquoted",
        "notFound": True,
    }
    record = {"$type": "app.bsky.embed.record#view", "record": quoted}
    return {"$type": "app.bsky.embed.recordWithMedia#view", "media": view, "record": record}


def _token() -> str:
    claims = {"sub": BOT, "iat": 1_790_000_000, "exp": 4_000_000_000, "scope": "com.atproto.access"}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b"c2ln"]).decode()


@post("/xrpc/com.atproto.server.createSession", status_code=200)
async def _log_in(request: Request[Any, Any, Any]) -> Any:
    given = await request.json()
    if (given["identifier"], given["password"]) != (HANDLE, PASSWORD):
        return _problem(401, "AuthenticationRequired", "Invalid identifier or password")
    service = {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": f"http://localhost:{request.url.port}",
    }
    return {
        "did": BOT,
        "handle": HANDLE,
        "accessJwt": _token(),
        "refreshJwt": _token(),
        "didDoc": {"id": BOT, "service": [service]},
    }


@get("/xrpc/com.atproto.server.getSession")
async def _who() -> dict[str, Any]:
    return {"did": BOT, "handle": HANDLE}


@get("/xrpc/app.bsky.feed.getListFeed")
async def _list(request: Request[Any, Any, Any]) -> dict[str, Any]:
    fake, query = _fake(request), request.query_params
    assert query["list"] == LIST
    newest = sorted(fake.posts.values(), key=lambda it: str(it["indexedAt"]), reverse=True)
    start = int(query.get("cursor", 0))
    end = start + min(int(query["limit"]), fake.page_size)
    fake.looks.saw()
    feed = [{"post": one} for one in newest[start:end]]
    return {"feed": feed, **({"cursor": str(end)} if end < len(newest) else {})}


@get("/xrpc/app.bsky.feed.getPosts")
async def _posts(request: Request[Any, Any, Any]) -> dict[str, Any]:
    found = _fake(request).posts.get(request.query_params["uris"])
    return {"posts": [found] if found else []}


@post("/xrpc/tools.ozone.moderation.emitEvent", status_code=200)
async def _emit(request: Request[Any, Any, Any]) -> Any:
    fake, given = _fake(request), await request.json()
    uri, event, external_id = given["subject"]["uri"], given["event"], given["externalId"]
    known = {
        (it["subject"]["uri"], it["event"]["$type"], it["external"])
        for it in fake.events
        if it["external"]
    }
    if (uri, event["$type"], external_id) in known:
        said = "An event with the same external ID already exists for the subject."
        return _problem(400, "DuplicateExternalId", said)
    fake.log(uri, event, by=BOT, external_id=external_id)
    return fake.events[-1]


@get("/xrpc/tools.ozone.moderation.queryEvents")
async def _events(request: Request[Any, Any, Any]) -> dict[str, Any]:
    uri = request.query_params["subject"]
    found = [event for event in _fake(request).events if event["subject"]["uri"] == uri]
    return {"events": found[::-1][: int(request.query_params["limit"])]}


@get("/xrpc/tools.ozone.team.listMembers")
async def _team(request: Request[Any, Any, Any]) -> dict[str, Any]:
    role = "tools.ozone.team.defs#roleModerator"
    if "cursor" not in request.query_params:
        return {"members": [{"did": BOT, "role": role}], "cursor": "2"}
    return {"members": [{"did": MODERATOR, "role": role}]}
