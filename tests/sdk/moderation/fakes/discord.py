"""A Discord server as far as a bot can see: REST, gateway and CDN on one loopback port.

Shapes are those of the API reference, version 10 (objects Guild, Channel, Message, Attachment,
Member; gateway opcodes; errors {"message", "code"}). discord.py finds it by `redirected`. Time
is the fake's own: a minute passes with each thing that happens.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import yarl
from aiohttp import WSMsgType, web

TOKEN = "token-of-the-bot"
BOT, AUTHOR, MODERATOR, GUEST, LEFT, OTHER_BOT = 900, 100, 101, 102, 103, 901
GUILD, GENERAL, MODS, THREAD, OTHER = 1, 10, 11, 12, 13
MOD_ROLE, GUEST_ROLE = 2, 3
VIEW_SEND_READ, MANAGE_MESSAGES = 0x400 | 0x800 | 0x10000, 0x2000
MESSAGE_CONTENT = 1 << 15
EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
WRITES = ("POST", "PUT", "PATCH", "DELETE")


class FakeDiscord:
    """The state, and what people do to it; `running` serves its API."""

    def __init__(self) -> None:
        self.messages: dict[int, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.takes_dms = True
        self.upload_limit = 10 * 2**20
        self.token = TOKEN
        self.allowed_intents = -1
        self.limited_until = 0.0
        self.limit_scope = "user"
        self.is_forbidden = False
        self.loses_answer_to = ""  # a method, or "any"
        self.requests: list[str] = []
        self.url = ""
        self._minutes = 0
        self._sockets: dict[web.WebSocketResponse, int] = {}  # and the intents of each
        self._sequence = 0

    # What people do.

    async def post(
        self,
        images: Sequence[bytes] = (),
        *,
        author: int = AUTHOR,
        channel: int = GENERAL,
        text: str = "Look!",
        **more: Any,
    ) -> str:
        """Post a message with pictures; returns its id."""
        files = [(f"image{index}.png", image) for index, image in enumerate(images)]
        message = self._new(channel, author=author, content=text, files=files, **more)
        await self._tell("MESSAGE_CREATE", message)
        return str(message["id"])

    async def edit(
        self, message_id: str, images: Sequence[bytes] | None = None, **more: Any
    ) -> None:
        """Change a message, as its author does."""
        message = self.messages[int(message_id)]
        message.update(more, edited_timestamp=self._tick().isoformat())
        if images is not None:
            files = [(f"other{index}.png", image) for index, image in enumerate(images)]
            message["attachments"] = self.attached(files)
        await self._tell("MESSAGE_UPDATE", message)

    async def unfurl(self, message_id: str, image_url: str) -> None:
        """Show the picture behind a link in a message, as Discord does a moment after it."""
        thumbnail = {"url": image_url, "proxy_url": f"{self.url}/external/x.png"}
        message = self.messages[int(message_id)]
        message["embeds"] = [{"type": "image", "url": image_url, "thumbnail": thumbnail}]
        await self._tell("MESSAGE_UPDATE", message)

    async def delete(self, message_id: str) -> None:
        """Delete a message."""
        message = self.messages.pop(int(message_id))
        gone = {name: message[name] for name in ("id", "channel_id", "guild_id")}
        await self._tell("MESSAGE_DELETE", gone)

    def react(self, message_id: str, *, by_bot: bool = False, emoji: str = "\u2705") -> None:
        """Add one reaction."""
        reactions = self.messages[int(message_id)].setdefault("reactions", [])
        known = next((one for one in reactions if one["emoji"]["name"] == emoji), None)
        if known is None:
            known = {"emoji": {"id": None, "name": emoji}, "count": 0, "me": False}
            reactions.append(known)
        known["count"] += not (by_bot and known["me"])
        known["me"] = known["me"] or by_bot

    def in_channel(self, channel: int) -> list[dict[str, Any]]:
        """Return the messages of a channel, oldest first."""
        return [
            one for _, one in sorted(self.messages.items()) if one["channel_id"] == str(channel)
        ]

    @property
    def is_connected(self) -> bool:
        """Whether a bot listens."""
        return bool(self._sockets)

    async def drop_sessions(self, *, code: int = 4000) -> None:
        """Cut every gateway connection; none can be resumed."""
        for socket in list(self._sockets):
            self._sockets.pop(socket)
            await socket.close(code=code)

    # Its state.

    def _tick(self) -> datetime:
        self._minutes += 1
        return EPOCH + timedelta(minutes=self._minutes)

    def _new(
        self,
        channel: int,
        *,
        author: int,
        content: str = "",
        files: Sequence[tuple[str, bytes]] = (),
        **more: Any,
    ) -> dict[str, Any]:
        now = self._tick()
        message_id = discord.utils.time_snowflake(now)
        self.messages[message_id] = {
            "id": str(message_id),
            "channel_id": str(channel),
            "guild_id": str(GUILD) if channel < AUTHOR else None,
            "type": 0,
            "author": _user(author),
            "content": content,
            "timestamp": now.isoformat(),
            "edited_timestamp": None,
            "attachments": self.attached(files),
            "embeds": [],
            "mentions": [],
            "mention_roles": [],
            "mention_everyone": False,
            "tts": False,
            "pinned": False,
            "flags": 0,
            **more,
        }
        return self.messages[message_id]

    def attached(self, files: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
        """Return the attachments of a message with these files."""
        return [self._attachment(name, data) for name, data in files]

    def _attachment(self, name: str, data: bytes) -> dict[str, Any]:
        file_id = str(5000 + len(self.files))
        self.files[file_id] = data
        return {
            "id": file_id,
            "filename": name,
            "size": len(data),
            "content_type": "image/png" if name.endswith(".png") else "text/plain",
            "url": f"{self.url}/attachments/{file_id}/{name}?ex=65&is=64&hm=ab",
            "proxy_url": f"{self.url}/attachments/{file_id}/{name}",
        }

    async def _tell(self, event: str, data: dict[str, Any]) -> None:
        for socket, intents in list(self._sockets.items()):
            shown = data
            if not intents & MESSAGE_CONTENT and "content" in data:
                shown = {**data, "content": "", "attachments": [], "embeds": []}
            await self._send(socket, event, shown)

    async def _send(self, socket: web.WebSocketResponse, event: str, data: dict[str, Any]) -> None:
        self._sequence += 1
        await socket.send_json({"op": 0, "t": event, "s": self._sequence, "d": data})

    # Its API.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve on loopback for as long as the context lasts."""
        app = web.Application(middlewares=[self._faults], client_max_size=2**26)
        app.add_routes(self._routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        api, message = "/api/v10", "/api/v10/channels/{channel}/messages"
        return [
            web.get("/gateway", self._gateway),
            web.get("/attachments/{file}/{name}", self._file),
            web.get(f"{api}/users/@me", self._me),
            web.get(f"{api}/oauth2/applications/@me", self._application),
            web.get(f"{api}/users/{{user}}", self._user),
            web.post(f"{api}/users/@me/channels", self._dm),
            web.get(f"{api}/guilds/{{guild}}", self._guild),
            web.get(f"{api}/guilds/{{guild}}/channels", self._channels),
            web.get(f"{api}/guilds/{{guild}}/threads/active", self._threads),
            web.get(f"{api}/guilds/{{guild}}/members/{{user}}", self._member),
            web.get(f"{api}/channels/{{channel}}", self._channel),
            web.get(message, self._history),
            web.post(message, self._create),
            web.get(message + "/{message}", self._message),
            web.patch(message + "/{message}", self._patch),
            web.delete(message + "/{message}", self._delete),
            web.put(message + "/{message}/reactions/{emoji}/@me", self._add_reaction),
            web.delete(message + "/{message}/reactions/{emoji}/@me", self._drop_reaction),
        ]

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not request.path.startswith("/api"):
            return await handler(request)  # type: ignore[no-any-return]
        self.requests.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bot {self.token}":
            return _problem(401, "401: Unauthorized", 0)
        left = self.limited_until - asyncio.get_running_loop().time()
        if left > 0:
            return self._limited(left)
        is_write = request.method in WRITES
        if is_write and self.is_forbidden:
            return _problem(403, "Missing Permissions", 50013)
        try:
            response: web.StreamResponse = await handler(request)
        except KeyError:
            response = _problem(404, "Unknown Message", 10008)
        if is_write and self.loses_answer_to in ("any", request.method):
            self.loses_answer_to = ""
            if request.transport:
                request.transport.abort()
        return response

    def _limited(self, left: float) -> web.Response:
        headers = {"Via": "1.1 google", "Retry-After": str(int(left) + 1)}
        if self.limit_scope == "network":
            return web.Response(status=429, text="error code: 1015")
        body = {"message": "You are being rate limited.", "retry_after": left, "global": False}
        return _json(body, status=429, headers=headers)

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 45000}})
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                said = json.loads(frame.data)
                await self._answer(socket, op=said["op"], data=said["d"])
        self._sockets.pop(socket, None)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, *, op: int, data: Any) -> None:
        if op == 1:
            await socket.send_json({"op": 11})
        elif op == 6:
            await socket.send_json({"op": 9, "d": False})
        elif op == 2 and data["intents"] & ~self.allowed_intents:
            await socket.close(code=4014)
        elif op == 2:
            self._sockets[socket] = data["intents"]
            ready = {
                "v": 10,
                "user": _user(BOT),
                "guilds": [{"id": str(GUILD), "unavailable": True}],
                "session_id": "a-session",
                "resume_gateway_url": str(_gateway_of(self.url)),
                "application": {"id": str(BOT), "flags": 0},
            }
            await self._send(socket, "READY", ready)
            await self._send(socket, "GUILD_CREATE", _guild(full=True))

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["file"]], content_type="image/png")

    async def _me(self, request: web.Request) -> web.Response:
        return _json(_user(BOT))

    async def _application(self, request: web.Request) -> web.Response:
        return _json(
            {
                "id": str(BOT),
                "name": "bot",
                "description": "",
                "icon": None,
                "bot_public": False,
                "bot_require_code_grant": False,
                "verify_key": "0" * 64,
                "owner": _user(MODERATOR),
                "flags": 0,
            }
        )

    async def _user(self, request: web.Request) -> web.Response:
        return _json(_user(int(request.match_info["user"])))

    async def _dm(self, request: web.Request) -> web.Response:
        user = int((await request.json())["recipient_id"])
        return _json({"id": str(1000 + user), "type": 1, "recipients": [_user(user)]})

    async def _guild(self, request: web.Request) -> web.Response:
        return _json(_guild(full=False))

    async def _channels(self, request: web.Request) -> web.Response:
        return _json([self._dated(one) for one in (GENERAL, MODS, OTHER)])

    async def _threads(self, request: web.Request) -> web.Response:
        return _json({"threads": [self._dated(THREAD)], "members": []})

    async def _member(self, request: web.Request) -> web.Response:
        user = int(request.match_info["user"])
        if user not in (AUTHOR, MODERATOR, GUEST):
            return _problem(404, "Unknown Member", 10007)
        return _json(_member(user))

    async def _channel(self, request: web.Request) -> web.Response:
        channel = int(request.match_info["channel"])
        if channel not in (GENERAL, MODS, THREAD, OTHER):
            return _problem(404, "Unknown Channel", 10003)
        return _json(self._dated(channel))

    def _dated(self, channel: int) -> dict[str, Any]:
        there = self.in_channel(channel)
        return {**_channel(channel), "last_message_id": there[-1]["id"] if there else None}

    async def _history(self, request: web.Request) -> web.Response:
        there = self.in_channel(int(request.match_info["channel"]))
        if after := request.query.get("after"):
            there = [one for one in there if int(one["id"]) > int(after)]
            there = there[: int(request.query["limit"])]
        return _json(there[::-1])

    async def _create(self, request: web.Request) -> web.Response:
        channel = int(request.match_info["channel"])
        if channel == 1000 + AUTHOR and not self.takes_dms:
            return _problem(403, "Cannot send messages to this user", 50007)
        payload, files = await _body(request)
        if sum(len(data) for _, data in files) > self.upload_limit:
            return _problem(413, "Request entity too large", 40005)
        message = self._new(
            channel,
            author=BOT,
            content=payload.get("content") or "",
            files=files,
            embeds=payload.get("embeds") or [],
        )
        if message["guild_id"]:  # direct messages are another intent
            await self._tell("MESSAGE_CREATE", message)
        return _json(message)

    def _named(self, request: web.Request) -> dict[str, Any]:
        return self.messages[int(request.match_info["message"])]

    async def _message(self, request: web.Request) -> web.Response:
        return _json(self._named(request))

    async def _patch(self, request: web.Request) -> web.Response:
        message = self._named(request)
        if message["author"]["id"] != str(BOT):
            return _problem(403, "Cannot edit a message authored by another user", 50005)
        payload, _ = await _body(request)
        message.update(payload, edited_timestamp=self._tick().isoformat())
        await self._tell("MESSAGE_UPDATE", message)
        return _json(message)

    async def _delete(self, request: web.Request) -> web.Response:
        await self.delete(self._named(request)["id"])
        return web.Response(status=204)

    async def _add_reaction(self, request: web.Request) -> web.Response:
        message = self._named(request)
        self.react(message["id"], by_bot=True, emoji=request.match_info["emoji"])
        return web.Response(status=204)

    async def _drop_reaction(self, request: web.Request) -> web.Response:
        reactions = self._named(request).get("reactions", [])
        for one in reactions:
            if one["emoji"]["name"] == request.match_info["emoji"] and one["me"]:
                one.update(me=False, count=one["count"] - 1)
        reactions[:] = [one for one in reactions if one["count"]]
        return web.Response(status=204)


@contextmanager
def redirected(fake: FakeDiscord) -> Iterator[None]:
    """Point discord.py at the fake: it has no option for it, but two class attributes."""
    route, gateway = discord.http.Route, discord.gateway.DiscordWebSocket
    before = route.BASE, gateway.DEFAULT_GATEWAY
    route.BASE, gateway.DEFAULT_GATEWAY = f"{fake.url}/api/v10", _gateway_of(fake.url)
    try:
        yield
    finally:
        route.BASE, gateway.DEFAULT_GATEWAY = before


def _gateway_of(url: str) -> yarl.URL:
    return yarl.URL(url.replace("http", "ws", 1)) / "gateway"


def _json(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer as Discord does: without a charset, which discord.py looks for."""
    body = json.dumps(data).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _problem(status: int, message: str, code: int) -> web.Response:
    return _json({"message": message, "code": code}, status=status)


async def _body(request: web.Request) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    if request.content_type != "multipart/form-data":
        return await request.json(), []
    form = await request.post()
    files = [
        (part.filename, part.file.read())
        for part in form.values()
        if isinstance(part, web.FileField)
    ]
    return json.loads(str(form["payload_json"])), files


def _user(user: int) -> dict[str, Any]:
    names = {AUTHOR: "author", MODERATOR: "moderator", GUEST: "guest", LEFT: "left"}
    return {
        "id": str(user),
        "username": names.get(user, "bot"),
        "discriminator": "0",
        "avatar": None,
        "global_name": None,
        "bot": user >= BOT,
    }


def _member(user: int) -> dict[str, Any]:
    roles = {MODERATOR: [str(MOD_ROLE)], GUEST: [str(GUEST_ROLE)]}.get(user, [])
    joined = EPOCH.isoformat()
    return {"user": _user(user), "roles": roles, "joined_at": joined, "flags": 0, "deaf": False,
            "mute": False}  # fmt: skip


def _role(role: int, name: str, permissions: int) -> dict[str, Any]:
    return {
        "id": str(role),
        "name": name,
        "permissions": str(permissions),
        "position": role,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def _channel(channel: int) -> dict[str, Any]:
    common = {"id": str(channel), "guild_id": str(GUILD), "type": 0, "position": channel}
    if channel == THREAD:
        made = {"archived": False, "auto_archive_duration": 1440, "locked": False,
                "archive_timestamp": EPOCH.isoformat()}  # fmt: skip
        return {**common, "type": 11, "name": "thread", "parent_id": str(GENERAL),
                "owner_id": str(AUTHOR), "message_count": 1, "member_count": 1,
                "thread_metadata": made}  # fmt: skip
    name = "mods" if channel == MODS else "general"
    return {**common, "name": name, "permission_overwrites": [], "nsfw": False, "parent_id": None}


def _guild(*, full: bool) -> dict[str, Any]:
    guild = {
        "id": str(GUILD),
        "name": "guild",
        "owner_id": "999",
        "roles": [
            _role(GUILD, "@everyone", VIEW_SEND_READ),
            _role(MOD_ROLE, "mods", MANAGE_MESSAGES),
            _role(GUEST_ROLE, "guests", 0),
        ],
        "emojis": [],
        "stickers": [],
        "features": [],
    }
    if not full:
        return guild
    here = {
        "channels": [_channel(one) for one in (GENERAL, MODS, OTHER)],
        "threads": [_channel(THREAD)],
    }
    bot = {**_member(AUTHOR), "user": _user(BOT)}
    return {**guild, **here, "members": [bot], "member_count": 4, "unavailable": False,
            "large": False, "voice_states": [], "presences": []}  # fmt: skip
