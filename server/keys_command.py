"""`pinclip keys`: makes, lists, revokes and rotates API keys. Works on the database itself.

    argv -> KeyRequest | id -> rules/keys.py -> SQL        the API may run meanwhile, or not

stdout has data alone: the new key, or the list. What happened is told on stderr.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.environment import SettingsError, load
from sdk.wire import Scope

from . import ids
from .settings import ServerSettings

if TYPE_CHECKING:
    from .rules.keys import Key, KeysDesk, Made

MISUSE = 2
CANNOT = 3
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LASTS = re.compile(r"(\d{1,9})([smhd])")
_COLUMNS = ("ID", "KEY", "OWNER", "NAME", "SCOPES", "LIMITS", "STATE", "EXPIRES", "LAST USED")

Act = Callable[["KeysDesk"], Awaitable[None]]


def main(argv: Sequence[str]) -> int:
    """What was asked for has been done to the keys; returns the exit status."""
    asked = _parser().parse_args(argv)
    try:
        settings = load(ServerSettings)
    except SettingsError as error:
        return _fail(CANNOT, *error.faults)
    return _with_desk(settings, _ACTS[asked.verb](asked))


def _with_desk(settings: ServerSettings, act: Act) -> int:
    """Do it with the database of these settings, which is made or brought up to date first."""
    import anyio

    from .ports import Unavailable
    from .refused import Refused, StartRefused

    try:
        anyio.run(_act, settings, act)
    except Refused as refused:
        return _fail(MISUSE, *refused.detail.splitlines())
    except StartRefused as refused:
        return _fail(CANNOT, str(refused))
    except Unavailable as error:
        return _fail(CANNOT, f"The database cannot be used now ({error.detail}): try again.")
    return 0


async def _act(settings: ServerSettings, act: Act) -> None:
    import logging

    from .clock import SystemClock
    from .rules.keys import KeysDesk
    from .store.engine import Database
    from .store.keys import SqlKeys

    logging.getLogger("alembic").setLevel(logging.WARNING)
    database = Database(settings)
    try:
        await database.prepare()
        await act(KeysDesk(store=SqlKeys(database), clock=SystemClock()))
    finally:
        await database.aclose()


def _create(asked: argparse.Namespace) -> Act:
    from .rules import keys as rules
    from .rules.caller import Limits

    request = rules.KeyRequest(
        owner=asked.owner,
        name=asked.name,
        scopes=frozenset(Scope(scope) for scope in asked.scope),
        kind=rules.Kind.PUBLISHABLE if asked.publishable else rules.Kind.SECRET,
        origins=tuple(dict.fromkeys(asked.origin)),
        limits=Limits(
            rate_per_minute=asked.rate, parallel=asked.parallel, quota_per_day=asked.quota
        ),
        lifetime_seconds=asked.expires,
    )

    async def act(desk: KeysDesk) -> None:
        made = await rules.create(request, actor=_actor(), desk=desk)
        _show(made, f"{made.key.id} belongs to {made.key.owner}.")

    return act


def _list(asked: argparse.Namespace) -> Act:
    async def act(desk: KeysDesk) -> None:
        keys = await desk.store.all()
        now = desk.clock.now()
        if asked.json:
            sys.stdout.writelines(f"{_json(key, now)}\n" for key in keys)
            return
        sys.stdout.write(_table([_COLUMNS, *(_row(key, now) for key in keys)]))

    return act


def _revoke(asked: argparse.Namespace) -> Act:
    from .rules import keys as rules

    async def act(desk: KeysDesk) -> None:
        key = await rules.revoke(asked.id, actor=_actor(), desk=desk)
        sys.stderr.write(f"{key.id} ({key.name}) is revoked; every API stops taking it in 5 s.\n")

    return act


def _rotate(asked: argparse.Namespace) -> Act:
    from .rules import keys as rules

    async def act(desk: KeysDesk) -> None:
        made = await rules.rotate(
            asked.id, overlap_seconds=asked.overlap, actor=_actor(), desk=desk
        )
        old = await desk.store.get(asked.id)
        until = ids.rfc3339(old.expires_at) if old and old.expires_at is not None else "now"
        _show(made, f"{made.key.id} replaces {asked.id}, which works until {until}.")

    return act


_ACTS = {"create": _create, "list": _list, "revoke": _revoke, "rotate": _rotate}


def _show(made: Made, sentence: str) -> None:
    sys.stdout.write(f"{made.text}\n")
    sys.stderr.write(f"{sentence} The key is shown this once; only its hash is kept.\n")


def _fail(status: int, *sentences: str) -> int:
    sys.stderr.writelines(f"pinclip: {sentence}\n" for sentence in sentences)
    return status


def _actor() -> str:
    return f"command:uid-{os.getuid()}"


def _json(key: Key, now: float) -> str:
    times = {
        name: None if at is None else ids.rfc3339(at)
        for name in ("created_at", "expires_at", "revoked_at", "last_used_at")
        for at in (getattr(key, name),)
    }
    told: dict[str, Any] = {
        **msgspec.structs.asdict(key),
        **times,
        "scopes": sorted(key.scopes),
        "state": key.state(now),
    }
    return msgspec.json.encode(told).decode()


def _row(key: Key, now: float) -> tuple[str, ...]:
    limits = key.limits
    counts = (
        (limits.rate_per_minute, "/min"),
        (limits.parallel, " at a time"),
        (limits.quota_per_day, "/day"),
    )
    return (
        key.id,
        key.hint,
        key.owner,
        key.name,
        " ".join(sorted(key.scopes)),
        ", ".join(f"{count}{unit}" for count, unit in counts if count is not None) or "none",
        key.state(now),
        _time(key.expires_at),
        _time(key.last_used_at),
    )


def _time(at: float | None) -> str:
    return "never" if at is None else ids.rfc3339(at)[:16] + "Z"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def _lasting(text: str) -> float:
    found = _LASTS.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90d, 24h, 30m or 10s")
    return float(int(found[1]) * _UNITS[found[2]])


def _per(unit: str) -> Callable[[str], int]:
    def count(text: str) -> int:
        digits = text.removesuffix(f"/{unit}")
        if not re.fullmatch(r"[0-9]{1,10}", digits):
            raise argparse.ArgumentTypeError(f"{text!r} is no count: write 600 or 600/{unit}")
        return int(digits)

    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip keys",
        description="Make, list, revoke and rotate the API keys of this server.",
        epilog="Works on the database of DATABASE_URL, or in PINCLIP_STATE_DIR.\n\n"
        "exit status: 0 done, 2 misuse or no such key, 3 the settings or the database cannot be\n"
        "used as they are",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_create(verbs.add_parser("create", help="make a key and print it, this once"))
    listed = verbs.add_parser("list", help="list all keys, newest first, without the keys")
    listed.add_argument("--json", action="store_true", help="one JSON object a line")
    revoked = verbs.add_parser("revoke", help="make a key useless within 5 s")
    revoked.add_argument("id", metavar="ID", help="id of the key, key_...")
    rotated = verbs.add_parser("rotate", help="make a key in place of another, and print it")
    rotated.add_argument("id", metavar="ID", help="id of the key to be replaced")
    rotated.add_argument(
        "--overlap",
        type=_lasting,
        default="24h",
        metavar="TIME",
        help="how long the old key goes on working, at most 30d (24h)",
    )
    return parser


def _add_create(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--owner", required=True, help="whose records the key sees, such as acme")
    add("--name", required=True, help="what the key is for, to tell it from others")
    add(
        "--scope",
        action="append",
        required=True,
        choices=list(map(str, Scope)),
        help="what it may do; may be given several times",
    )
    add("--publishable", action="store_true", help="a key that the public may see (scope scan)")
    add(
        "--origin",
        action="append",
        default=[],
        help="page or extension that a publishable key works from; may be given several times",
    )
    add("--expires", type=_lasting, metavar="TIME", help="how long it works: 90d, 24h (always)")
    add("--rate", type=_per("min"), metavar="N/min", help="scans a minute (no limit)")
    add("--parallel", type=int, metavar="N", help="scans that are not final (no limit)")
    add("--quota", type=_per("day"), metavar="N/day", help="scans a day (no limit)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
