"""A Lemmy server as far as the adapter can see: posts, reports, removals and their log, messages.

The shapes are those of Lemmy 0.19's API version 3 (lemmy-js-client: PostView, PostReportView,
ModRemovePostView, GetSiteResponse; error {"error": "couldnt_find_post"} with status 400 or 404).
As in Lemmy, an account reports a post once, and times leave out zeros at their end.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from litestar import Litestar, Request, Response, get, post, put
from litestar.datastructures import State

from tests.sdk.moderation.fakes.loopback import Looks, Unreliable

BOT, AUTHOR, MODERATOR = 900, 100, 1
USER, PASSWORD = "pinclip", "a long password"
TOKEN = "token-of-the-bot"
COMMUNITY = 7


class FakeLemmy:
    """The state, and what people do to it; `app` is the API."""

    def __init__(self) -> None:
        self.posts: dict[int, dict[str, Any]] = {}
        self.reports: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.looks = Looks()
        self.page_size = 50
        self.is_moderator = True
        self.is_down = False
        self._limited_until = 0.0
        self._clock = datetime(2026, 11, 1, tzinfo=UTC)
        api = Litestar(
            [
                *(_nodeinfo, _log_in, _site, _list, _read, _remove, _report, _reports, _resolve),
                *(_modlog, _write),
            ],
            before_request=self._refuse,
            openapi_config=None,
            state=State({"fake": self}),
        )
        self.app = Unreliable(api)

    def post(self, images: int, *, author: int = AUTHOR, **changes: Any) -> str:
        """Publish a post whose first image is its link and whose others are in its text."""
        number = 5000 + len(self.posts)
        self.posts[number] = {
            "id": number,
            "ap_id": f"https://lemmy.example/post/{number}",
            "creator_id": author,
            "community_id": COMMUNITY,
            "published": self._now(),
            "removed": False,
            "deleted": False,
            **_content(f"{number}", images),
            **changes,
        }
        return str(number)

    def edit(self, identity: str, images: int) -> None:
        self.posts[int(identity)].update(updated=self._now(), **_content(f"{identity}e", images))

    def delete(self, identity: str) -> None:
        self.posts[int(identity)]["deleted"] = True

    def purge(self, identity: str) -> None:
        del self.posts[int(identity)]

    def limit(self, seconds: float) -> None:
        self._limited_until = monotonic() + seconds

    def remove(self, number: int, is_removed: bool, *, by: int, reason: str = "") -> None:
        """Remove or restore a post as a moderator does it."""
        self.posts[number]["removed"] = is_removed
        facts = {"mod_person_id": by, "post_id": number, "removed": is_removed, "reason": reason}
        self.log.append({"mod_remove_post": {"id": len(self.log) + 1, **facts}})

    def resolve(self, number: int, *, by: int) -> None:
        """Close the reports of a post."""
        for report in self.reports_of(number):
            report.update(resolved=True, resolver_id=by)

    def reports_of(self, number: int, *, by: int | None = None) -> list[dict[str, Any]]:
        """Return the open reports of a post."""
        return [
            report
            for report in self.reports
            if report["post_id"] == number
            and not report["resolved"]
            and by in (None, report["creator_id"])
        ]

    def view(self, number: int) -> dict[str, Any]:
        found = self.posts[number]
        return {
            "post": found,
            "creator": {
                "id": found["creator_id"],
                "actor_id": f"https://lemmy.example/u/{found['creator_id']}",
            },
            "creator_is_moderator": found["creator_id"] == MODERATOR,
            "creator_is_admin": False,
        }

    def _now(self) -> str:
        self._clock += timedelta(milliseconds=500)
        text = self._clock.strftime("%Y-%m-%dT%H:%M:%S.%f")
        return text.rstrip("0").rstrip(".") + "Z"

    def _refuse(self, request: Request[Any, Any, Any]) -> Response[Any] | None:
        if self.is_down:
            return Response("<h1>502 Bad Gateway</h1>", status_code=502, media_type="text/html")
        if monotonic() < self._limited_until:
            return _problem("rate_limit_error")
        path = request.url.path
        is_open = path.endswith(("/nodeinfo/2.0.json", "/user/login"))
        if not is_open and request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _problem("not_logged_in")
        is_for_moderators = path.endswith(("/post/remove", "/post/report/list"))
        if is_for_moderators and not self.is_moderator:
            return _problem("not_a_mod_or_admin")
        return None


def _problem(error: str, status: int = 400) -> Response[Any]:
    return Response({"error": error}, status_code=status)


def _fake(request: Request[Any, Any, Any]) -> FakeLemmy:
    return request.app.state.fake  # type: ignore[no-any-return]


def _content(stem: str, images: int) -> dict[str, Any]:
    urls = [f"https://lemmy.example/pictrs/image/{stem}-{place}.png" for place in range(images)]
    return {
        "name": "A post",
        "url": urls[0] if urls else None,
        "body": "\n".join(f"![one more]({url})" for url in urls[1:]),
    }


@get("/nodeinfo/2.0.json")
async def _nodeinfo() -> dict[str, Any]:
    return {"version": "2.0", "software": {"name": "lemmy", "version": "0.19.12"}}


@post("/api/v3/user/login", status_code=200)
async def _log_in(request: Request[Any, Any, Any]) -> Any:
    given = await request.json()
    if (given["username_or_email"], given["password"]) != (USER, PASSWORD):
        return _problem("incorrect_login", status=401)
    return {"jwt": TOKEN, "registration_created": False, "verify_email_sent": False}


@get("/api/v3/site")
async def _site() -> dict[str, Any]:
    return {"my_user": {"local_user_view": {"person": {"id": BOT, "name": USER}}}}


@get("/api/v3/post/list")
async def _list(request: Request[Any, Any, Any]) -> dict[str, Any]:
    fake, query = _fake(request), request.query_params
    assert query["sort"] == "New"
    assert query.get("type_") == "Local" or query["community_name"] == "pictures"
    order = sorted(fake.posts, key=lambda it: (not fake.posts[it].get("featured"), -it))
    size = min(int(query["limit"]), fake.page_size)
    start = (int(query["page"]) - 1) * size
    fake.looks.saw()
    return {"posts": [fake.view(number) for number in order[start : start + size]]}


@get("/api/v3/post")
async def _read(request: Request[Any, Any, Any]) -> Any:
    fake, number = _fake(request), int(request.query_params["id"])
    if number not in fake.posts:
        return _problem("not_found", status=404)
    return {"post_view": fake.view(number)}


@post("/api/v3/post/remove", status_code=200)
async def _remove(request: Request[Any, Any, Any]) -> Any:
    fake, given = _fake(request), await request.json()
    fake.remove(given["post_id"], given["removed"], by=BOT, reason=given["reason"])
    return {"post_view": fake.view(given["post_id"])}


@post("/api/v3/post/report", status_code=200)
async def _report(request: Request[Any, Any, Any]) -> Any:
    fake, given = _fake(request), await request.json()
    if any((it["post_id"], it["creator_id"]) == (given["post_id"], BOT) for it in fake.reports):
        return _problem("couldnt_create_report")
    report = {
        "id": len(fake.reports) + 1,
        "post_id": given["post_id"],
        "creator_id": BOT,
        "reason": given["reason"],
        "resolved": False,
    }
    fake.reports.append(report)
    return {"post_report_view": {"post_report": report}}


@get("/api/v3/post/report/list")
async def _reports(request: Request[Any, Any, Any]) -> dict[str, Any]:
    assert request.query_params["community_id"] == str(COMMUNITY)
    return {"post_reports": [{"post_report": report} for report in _fake(request).reports[::-1]]}


@put("/api/v3/post/report/resolve", status_code=200)
async def _resolve(request: Request[Any, Any, Any]) -> Any:
    fake, given = _fake(request), await request.json()
    report = next(it for it in fake.reports if it["id"] == given["report_id"])
    report.update(resolved=given["resolved"], resolver_id=BOT)
    return {"post_report_view": {"post_report": report}}


@get("/api/v3/modlog")
async def _modlog(request: Request[Any, Any, Any]) -> dict[str, Any]:
    assert request.query_params["type_"] == "ModRemovePost"
    return {"removed_posts": _fake(request).log[::-1]}


@post("/api/v3/private_message", status_code=200)
async def _write(request: Request[Any, Any, Any]) -> Any:
    given = await request.json()
    _fake(request).messages.append(given)
    return {"private_message_view": {"private_message": given}}
