"""Reddit as far as a moderator's app can see: listings, moderation, mod notes, modmail, OAuth.

Shapes are those of the API documentation and of what the site sends with raw_json=1 (Listing,
t2, t3 and t5 things, media_metadata, mod notes, error bodies). Each address asks for the scope
that the documentation names. Time is the fake's own: a minute passes with each thing that
happens.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

CLIENT, CLIENT_KEY, REFRESH = "client-of-the-app", "key-of-the-app", "refresh-of-the-bot"
BOT, AUTHOR, MODERATOR, APPROVED = "pinclip_bot", "author", "moderator", "approved"
SUB = "pictures"
SCOPES = {
    "/api/v1/me": "identity",
    "/api/report": "report",
    "/api/remove": "modposts",
    "/api/approve": "modposts",
    "/api/v1/modactions/removal_reasons": "modposts",
    f"/r/{SUB}/api/flair": "modflair",
    f"/r/{SUB}/api/selectflair": "modflair",
    "/api/mod/notes": "modnote",
    "/api/mod/conversations": "modmail",
}
"""Of each address; of all others `read`."""


class FakeReddit:
    """The state, and what people do to it; `running` serves its API."""

    def __init__(self) -> None:
        self.posts: dict[str, dict[str, Any]] = {}
        self.pictures: dict[str, bytes] = {}
        self.notes: list[dict[str, Any]] = []
        self.mails: list[dict[str, str]] = []
        self.scopes = set(SCOPES.values()) | {"read"}
        self.is_moderator = True
        self.subreddit_type = "public"
        self.unreachable: set[str] = set()
        """People to whom nobody can write."""
        self.limited_until = 0.0
        self.is_forbidden = False
        self.loses_answer = False
        self.busy_message = ""
        """What the next write is answered with, as Reddit does it for single users."""
        self.url = ""
        self._now = 1_793_491_200
        self._names = 0

    # What people do.

    def post(self, images: Sequence[bytes] = (), *, author: str = AUTHOR, **more: Any) -> str:
        """Post a gallery, or a link if `more` says so; returns its fullname."""
        fullname = f"t3_{self._name()}"
        self.posts[fullname] = {
            "id": fullname[3:],
            "name": fullname,
            "author": author,
            "subreddit": SUB,
            "permalink": f"/r/{SUB}/comments/{fullname[3:]}/look/",
            "title": "Look!",
            "selftext": "",
            "url": f"https://www.reddit.com/gallery/{fullname[3:]}",
            "created_utc": float(self._tick()),
            "edited": False,
            "link_flair_text": None,
            "link_flair_css_class": None,
            "banned_by": None,
            "approved_by": None,
            "removed_by_category": None,
            "mod_note": None,
            "mod_reports": [],
            "mod_reports_dismissed": [],
            **self._gallery(images),
            **more,
        }
        return fullname

    def edit(self, fullname: str, images: Sequence[bytes] = (), **more: Any) -> None:
        """Change a post, as its author does."""
        edited = float(self._tick())
        self.posts[fullname].update({**self._gallery(images), **more, "edited": edited})

    def delete(self, fullname: str) -> None:
        """Delete a post: a shell without an author stays."""
        gone = {"author": "[deleted]", "removed_by_category": "deleted", "media_metadata": None}
        self.posts[fullname].update(gone)

    def approve(self, fullname: str, *, by: str = MODERATOR) -> None:
        """Approve a post, as a moderator does."""
        post = self.posts[fullname]
        post["mod_reports_dismissed"] += post.pop("mod_reports")
        post.update(approved_by=by, banned_by=None, removed_by_category=None, mod_reports=[])

    def remove(self, fullname: str, *, by: str = MODERATOR) -> None:
        """Remove a post, as a moderator does."""
        self.posts[fullname].update(
            approved_by=None, banned_by=by, removed_by_category="moderator", mod_note=None
        )

    # Its state.

    def _tick(self) -> int:
        self._now += 60
        return self._now

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names:05}"

    def _gallery(self, images: Sequence[bytes]) -> dict[str, Any]:
        names = [self._name() for _ in images]
        self.pictures.update(zip(names, images, strict=True))
        metadata = {name: self.uploaded(name) for name in names}
        items = [{"media_id": name, "id": index} for index, name in enumerate(names)]
        return {"is_gallery": True, "media_metadata": metadata, "gallery_data": {"items": items}}

    @staticmethod
    def uploaded(name: str, *, status: str = "valid", kind: str = "Image") -> dict[str, Any]:
        """Return an entry of media_metadata."""
        small = f"https://preview.redd.it/{name}.jpg?width=108&format=pjpg&s=ab"
        return {"status": status, "e": kind, "m": "image/jpg", "id": name,
                "s": {"x": 64, "y": 64, "u": small}, "p": []}  # fmt: skip

    # Its API.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve on loopback for as long as the context lasts."""
        app = web.Application(middlewares=[self._faults])
        app.add_routes(self._routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        sub = f"/r/{SUB}"
        return [
            web.post("/api/v1/access_token", self._token),
            web.get("/api/v1/me{_:/?}", self._me),
            web.get("/comments/{post}{_:/?}", self._post),
            web.get(sub + "/about{_:/?}", self._about),
            web.get(sub + "/new{_:/?}", self._new),
            web.get(sub + "/about/edited{_:/?}", self._edited),
            web.get(sub + "/about/moderators{_:/?}", self._moderators),
            web.get(sub + "/about/contributors{_:/?}", self._contributors),
            web.post("/api/report{_:/?}", self._report),
            web.post("/api/remove{_:/?}", self._remove),
            web.post("/api/approve{_:/?}", self._approve),
            web.post("/api/v1/modactions/removal_reasons{_:/?}", self._reason),
            web.post(sub + "/api/flair{_:/?}", self._flair),
            web.post(sub + "/api/selectflair{_:/?}", self._flair),
            web.get("/api/mod/notes{_:/?}", self._notes),
            web.post("/api/mod/notes{_:/?}", self._note),
            web.delete("/api/mod/notes{_:/?}", self._unnote),
            web.post("/api/mod/conversations{_:/?}", self._mail),
        ]

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/api/v1/access_token":
            return await handler(request)  # type: ignore[no-any-return]
        if refused := self._refused(request):
            return refused
        response: web.StreamResponse = await handler(request)
        if request.method != "GET" and self.loses_answer:
            self.loses_answer = False
            if request.transport:
                request.transport.abort()
        return response

    def _refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != "bearer a-token":
            return web.Response(status=401)
        if SCOPES.get(request.path.rstrip("/"), "read") not in self.scopes:
            headers = {"www-authenticate": 'Bearer realm="reddit", error="insufficient_scope"'}
            return web.Response(status=403, headers=headers)
        left = self.limited_until - asyncio.get_running_loop().time()
        if left > 0:
            return web.Response(status=429, headers={"retry-after": f"{left:.2f}"})
        if request.method != "GET" and self.is_forbidden:
            return _json({"message": "Forbidden", "error": 403}, status=403)
        if request.method != "GET" and self.busy_message:
            said, self.busy_message = self.busy_message, ""
            return _json({"json": {"errors": [["RATELIMIT", said, "ratelimit"]]}})
        return None

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        known = base64.b64encode(f"{CLIENT}:{CLIENT_KEY}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {known}":
            return _json({"message": "Unauthorized", "error": 401}, status=401)
        if form.get("refresh_token") != REFRESH and form.get("code") != "a-code":
            return _json({"message": "Bad Request", "error": 400}, status=400)
        scope = " ".join(sorted(self.scopes))
        return _json({"access_token": "a-token", "token_type": "bearer", "expires_in": 86400,
                      "scope": scope, "refresh_token": REFRESH})  # fmt: skip

    async def _me(self, request: web.Request) -> web.Response:
        return _json({"id": "u1", "name": BOT})

    async def _about(self, request: web.Request) -> web.Response:
        about = {"id": "s1", "name": "t5_s1", "display_name": SUB,
                 "subreddit_type": self.subreddit_type,
                 "user_is_moderator": self.is_moderator}  # fmt: skip
        return _json({"kind": "t5", "data": about})

    async def _post(self, request: web.Request) -> web.Response:
        post = self.posts.get(f"t3_{request.match_info['post']}")
        if post is None:
            return _json({"message": "Not Found", "error": 404}, status=404)
        return _json([_listing([post]), _listing([])])

    async def _new(self, request: web.Request) -> web.Response:
        shown = [post for post in self.posts.values() if not post["removed_by_category"]]
        return _page(sorted(shown, key=lambda post: -post["created_utc"]), request)

    async def _edited(self, request: web.Request) -> web.Response:
        shown = [post for post in self.posts.values() if post["edited"]]
        return _page(sorted(shown, key=lambda post: -post["edited"]), request)

    async def _moderators(self, request: web.Request) -> web.Response:
        asked = request.query.get("user")
        people = [
            {"name": name, "id": f"t2_{name}", "date": 1.0, "mod_permissions": ["all"]}
            for name in (BOT, MODERATOR)
            if asked in (None, name)
        ]
        return _json({"kind": "UserList", "data": {"children": people}})

    async def _contributors(self, request: web.Request) -> web.Response:
        asked = request.query.get("user")
        people = [{"name": APPROVED, "id": "t2_a", "date": 1.0}] if asked == APPROVED else []
        return _json({"kind": "Listing", "data": {"after": None, "children": people}})

    async def _report(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.posts[str(form["id"])]["mod_reports"].append([str(form["reason"]), BOT])
        return _json({"json": {"errors": []}})

    async def _remove(self, request: web.Request) -> web.Response:
        self.remove(str((await request.post())["id"]), by=BOT)
        return _json({})

    async def _approve(self, request: web.Request) -> web.Response:
        self.approve(str((await request.post())["id"]), by=BOT)
        return _json({})

    async def _reason(self, request: web.Request) -> web.Response:
        said = json.loads(str((await request.post())["json"]))
        for fullname in said["item_ids"]:
            self.posts[fullname]["mod_note"] = said["mod_note"]
        return _json({})

    async def _flair(self, request: web.Request) -> web.Response:
        form = await request.post()
        template = form.get("flair_template_id")
        self.posts[str(form["link"])].update(
            link_flair_text=form["text"] or None,
            link_flair_css_class=form["css_class"] or None,
            link_flair_template_id=template,
        )
        return _json({"json": {"errors": []}})

    async def _notes(self, request: web.Request) -> web.Response:
        found = [note for note in self.notes if note["user"] == request.query["user"]]
        return _json({"mod_notes": found[::-1], "start_cursor": "", "end_cursor": "",
                      "has_next_page": False})  # fmt: skip

    async def _note(self, request: web.Request) -> web.Response:
        form = await request.post()
        if len(str(form["note"])) > 250:
            return _json({"message": "Bad Request", "error": 400}, status=400)
        note = {
            "id": f"ModNote_{self._name()}",
            "type": "NOTE",
            "created_at": self._now,
            "operator": BOT,
            "operator_id": "t2_u1",
            "subreddit": SUB,
            "subreddit_id": "t5_s1",
            "user": form["user"],
            "user_id": "t2_u2",
            "mod_action_data": {"action": None, "reddit_id": None, "details": None},
            "user_note_data": {"note": form["note"], "label": None,
                               "reddit_id": form["reddit_id"]},
        }  # fmt: skip
        self.notes.append(note)
        return _json({"created": note})

    async def _unnote(self, request: web.Request) -> web.Response:
        self.notes = [note for note in self.notes if note["id"] != request.query["note_id"]]
        return _json({"deleted": True})

    async def _mail(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if form.get("to") in self.unreachable:
            said = ["USER_BLOCKED", "you can't send this user a message", "to"]
            return _json({"json": {"errors": [said]}})
        self.mails.append(form)
        said = {"id": self._name(), "author": {"name": BOT}, "bodyMarkdown": form["body"],
                "isInternal": "to" not in form}  # fmt: skip
        conversation = {
            "id": self._name(),
            "subject": form["subject"],
            "isInternal": "to" not in form,
            "owner": {"displayName": SUB, "type": "subreddit", "id": "t5_s1"},
            "participant": {"name": form.get("to"), "id": 2, "isAdmin": False, "isDeleted": False,
                            "isMod": False, "isOp": False, "isHidden": False},
            "authors": [],
            "objIds": [{"id": said["id"], "key": "messages"}],
        }  # fmt: skip
        return _json(
            {"conversation": conversation, "messages": {said["id"]: said}, "modActions": {}}
        )


def _json(data: Any, *, status: int = 200) -> web.Response:
    headers = {"x-ratelimit-remaining": "99", "x-ratelimit-used": "1", "x-ratelimit-reset": "60"}
    return web.json_response(data, status=status, headers=headers)


def _listing(posts: Sequence[dict[str, Any]], *, after: str | None = None) -> dict[str, Any]:
    children = [{"kind": "t3", "data": post} for post in posts]
    return {"kind": "Listing", "data": {"after": after, "children": children}}


def _page(posts: Sequence[dict[str, Any]], request: web.Request) -> web.Response:
    names = [post["name"] for post in posts]
    after = request.query.get("after")
    start = names.index(after) + 1 if after else 0
    size = min(int(request.query["limit"]), 100)
    more = len(posts) > start + size
    last = names[start + size - 1] if more else None
    return _json(_listing(posts[start : start + size], after=last))
