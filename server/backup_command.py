"""`pinclip backup FILE` and `pinclip restore FILE`: all that cannot be made again, in one file.

    records.sqlite3  the truth                                  in the file
    receipt.key      what receipts are signed with              to be kept once, beside it
    uploads, Redis   minutes old, and a hint                    not kept: nothing is lost with them

A backup is made while the server runs; nothing may run while one is put back.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sdk.environment import SettingsError, load
from worker.supervisor import SETTINGS_STATUS

from .settings import ServerSettings

MISUSE = 2

_BY_POSTGRES = {
    "backup": 'pg_dump --format=custom --file={file} "$DATABASE_URL"',
    "restore": 'pg_restore --clean --if-exists --single-transaction -d "$DATABASE_URL" {file}',
}


def backup(argv: Sequence[str]) -> int:
    """A backup was written; returns the exit status."""
    file, settings = _read("backup", argv)
    return SETTINGS_STATUS if settings is None else _backup(file, settings)


def restore(argv: Sequence[str]) -> int:
    """A backup was put in the place of the database; returns the exit status."""
    file, settings = _read("restore", argv)
    return SETTINGS_STATUS if settings is None else _restore(file, settings)


def _backup(file: Path, settings: ServerSettings) -> int:
    from .receipts import KEY_FILE
    from .store.backup import CannotCopy, save
    from .store.engine import database_file

    database = database_file(settings)
    if not database.exists():
        _say("backup", f"There is no database {database}: set PINCLIP_STATE_DIR to the server's.")
        return SETTINGS_STATUS
    try:
        copied = save(database, file)
    except CannotCopy as error:
        _say("backup", str(error))
        return MISUSE
    sys.stdout.write(f"{copied.file}: {copied.scans} scans, {copied.size_bytes} bytes, whole\n")
    key = settings.redis.state_dir / KEY_FILE
    if key.exists():
        _say(
            "backup", f"Keep {key} too, once: receipts are signed with it, and it is not in there."
        )
    return 0


def _restore(file: Path, settings: ServerSettings) -> int:
    from .clock import SystemClock
    from .store.backup import CannotCopy
    from .store.backup import restore as put_back
    from .store.engine import database_file
    from .up import CannotStart, locked, prepare

    state_dir = settings.redis.state_dir.absolute()
    try:
        prepare(state_dir)
        with locked(state_dir):
            aside = put_back(file, database_file(settings), at=SystemClock().now())
    except CannotStart as error:
        for fault in error.faults:
            _say("restore", fault)
        return SETTINGS_STATUS
    except CannotCopy as error:
        _say("restore", str(error))
        return MISUSE
    sys.stdout.write(f"{database_file(settings)}: as {file} has it\n")
    _say_what_came_back(aside)
    return 0


def _say_what_came_back(aside: Path | None) -> None:
    if aside is not None:
        _say("restore", f"The database before is {aside}: remove it once you need it no more.")
    _say(
        "restore",
        "Scans that waited then are done after the next start. What was erased or revoked since "
        "the backup is back: erase it again, and see `pinclip keys list`.",
    )


def _read(name: str, argv: Sequence[str]) -> tuple[Path, ServerSettings | None]:
    """Return the file and the settings; None, with the reason told, where those will not do."""
    file: Path = _parser(name).parse_args(argv).file
    try:
        settings = load(ServerSettings)
    except SettingsError as error:
        for fault in error.faults:
            _say(name, fault)
        return file, None
    if settings.database_url:
        how = _BY_POSTGRES[name].format(file=shlex.quote(str(file)))
        _say(name, f"DATABASE_URL names a PostgreSQL, which has its own way: run {how}")
        return file, None
    return file, settings


def _say(name: str, sentence: str) -> None:
    sys.stderr.write(f"pinclip {name}: {sentence}\n")


def _parser(name: str) -> argparse.ArgumentParser:
    what = {
        "backup": (
            "Write a copy of the database to FILE, while the server runs or not.",
            "FILE must not exist yet. It has the hashes of keys and the secrets of webhooks: keep "
            "it as\nsafe as the server.",
        ),
        "restore": (
            "Put what `pinclip backup` wrote in the place of the database; nothing may run.",
            "The database that is there stays beside it under another name. After it, `pinclip "
            "audit list`\nshows the restore.",
        ),
    }
    description, epilog = what[name]
    parser = argparse.ArgumentParser(
        prog=f"pinclip {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"{epilog}\n\nexit status: 0 done; 2 misuse, or the file cannot be used; 3 the "
        "settings cannot be used, or it runs",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    return parser
