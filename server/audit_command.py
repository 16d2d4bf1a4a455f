"""`pinclip audit verify | list`: the audit log at a terminal. Reads; changes nothing.

    verify   walks the chain: whole, or the first row that is not as it was written
    list     who did what, newest first

Works on the database itself, with the API running or not.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from sdk.environment import SettingsError, load
from worker.supervisor import SETTINGS_STATUS

from .ids import rfc3339
from .settings import ServerSettings

if TYPE_CHECKING:
    from .store.audit import Entry, Head, SqlAudit, Verified

BROKEN = 4
"""Exit status of a log that is not as it was written."""
LIST_LIMIT = 100
"""Rows that `list` prints unless told otherwise."""

_HEAD = re.compile(r"(\d{1,10}):([0-9a-f]{64})")


def main(argv: Sequence[str]) -> int:
    """The audit log was verified or listed; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load(ServerSettings)
    except SettingsError as error:
        return _refuse(*error.faults)
    return int(arguments.run(arguments, settings))


def _verify(arguments: argparse.Namespace, settings: ServerSettings) -> int:
    async def walk(audit: SqlAudit) -> int:
        found = await audit.verify(arguments.expect)
        return _tell(found, arguments)

    return _with_audit(settings, walk)


def _tell(found: Verified, arguments: argparse.Namespace) -> int:
    if arguments.json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    elif found.fault is None:
        whole = f"whole: {found.count} rows, head {found.head}"
        sys.stdout.write(f"{found.head if arguments.head else whole}\n")
    if found.fault is None:
        return 0
    sys.stderr.write(
        f"pinclip audit: row {found.fault.seq} is {found.fault.kind}: {found.fault.detail}. Rows 1 "
        f"to {found.head.seq} are as they were written. Compare with a backup from before "
        "(`pinclip restore` into another PINCLIP_STATE_DIR), and ask who can write the database.\n"
    )
    return BROKEN


def _list(arguments: argparse.Namespace, settings: ServerSettings) -> int:
    async def read(audit: SqlAudit) -> int:
        entries = await audit.entries(
            actor=arguments.actor,
            action=arguments.action,
            subject=arguments.subject,
            limit=arguments.limit,
        )
        for entry in entries:
            sys.stdout.write((_as_json(entry) if arguments.json else _as_text(entry)) + "\n")
        return 0

    return _with_audit(settings, read)


def _as_text(entry: Entry) -> str:
    at = rfc3339(entry.at)
    return (
        f"{entry.seq:>6}  {at}  {entry.actor:<30}  {entry.action:<18}  {entry.subject:<31}  "
        f"{entry.detail_json}"
    )


def _as_json(entry: Entry) -> str:
    import msgspec

    shown = msgspec.structs.asdict(entry)
    shown["detail"] = msgspec.json.decode(shown.pop("detail_json"))
    return msgspec.json.encode(shown).decode()


def _with_audit(
    settings: ServerSettings, work: Callable[[SqlAudit], Coroutine[Any, Any, int]]
) -> int:
    """Do this with the log of the database that the settings name; returns the exit status."""
    import anyio

    from .ports import Unavailable
    from .refused import StartRefused
    from .store.audit import SqlAudit
    from .store.engine import Database, database_file

    file = database_file(settings)
    if not settings.database_url and not file.exists():
        return _refuse(
            f"There is no database {file}: set PINCLIP_STATE_DIR or DATABASE_URL to the server's."
        )

    async def run() -> int:
        database = Database(settings)
        try:
            await database.prepare()
            return await work(SqlAudit(database))
        finally:
            await database.aclose()

    try:
        return anyio.run(run)
    except StartRefused as error:
        return _refuse(str(error))
    except Unavailable as error:
        return _refuse(f"The audit log cannot be read ({error.detail}): try again.")


def _refuse(*faults: str) -> int:
    for fault in faults:
        sys.stderr.write(f"pinclip audit: {fault}\n")
    return SETTINGS_STATUS


def _head(text: str) -> Head:
    from .store.audit import Head

    found = _HEAD.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not SEQ:HASH as `pinclip audit verify --head` prints it"
        )
    return Head(int(found[1]), found[2])


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip audit",
        description="Read the audit log of the database in PINCLIP_STATE_DIR or DATABASE_URL.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "A chain cannot tell by itself that its end was cut off, or that all of it was written "
            "anew:\nkeep what `verify --head` prints elsewhere, and give it to --expect later.\n\n"
            "exit status: 0 whole, or listed; 2 misuse; 3 the settings or the database cannot be "
            "used as they\nare; 4 a row is not as it was written"
        ),
    )
    commands = parser.add_subparsers(required=True, metavar="verify | list")
    verify = commands.add_parser("verify", help="say whether every row is as it was written")
    verify.add_argument("--head", action="store_true", help="print only SEQ:HASH of the last row")
    verify.add_argument(
        "--expect", type=_head, metavar="SEQ:HASH", help="a head of earlier that must be in there"
    )
    verify.add_argument("--json", action="store_true", help="print what was found as JSON")
    verify.set_defaults(run=_verify)
    listing = commands.add_parser("list", help="print rows, newest first")
    for name in ("actor", "action", "subject"):
        listing.add_argument(f"--{name}", help=f"only rows with this {name}")
    listing.add_argument(
        "--limit", type=_positive, default=LIST_LIMIT, metavar="N", help="most rows (%(default)s)"
    )
    listing.add_argument("--json", action="store_true", help="print each row as JSON")
    listing.set_defaults(run=_list)
    return parser
