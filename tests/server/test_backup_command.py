"""`pinclip backup` and `pinclip restore`: while others write, killed half way, and refused."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from sdk.environment import inherited
from server.backup_command import backup, restore
from server.receipts import Signer
from server.settings import ServerSettings
from server.store import audit
from server.store.audit import SqlAudit, Verified
from server.store.backup import PART, inspected
from server.store.engine import Database
from server.up import locked
from tests.fakes import ManualClock
from tests.server.scenes import opened
from tests.server.sql_records import SqlRecords
from worker.contract import RedisSettings

ROOT = Path(__file__).parents[2]
AT = 1_790_000_000.0
BALLAST_BYTES = 48 << 20
"""Enough that copying it takes longer than it takes to see that it began."""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a server that has run, and whose settings are in the environment."""
    state = tmp_path / "state"
    monkeypatch.setenv("PINCLIP_STATE_DIR", str(state))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    record(state, 3)
    return state


@pytest.fixture
def database(state: Path) -> Path:
    return state / "records.sqlite3"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "backup.sqlite3"


@pytest.fixture(autouse=True)
def folder(file: Path) -> None:
    file.parent.mkdir()


def settings(state: Path) -> ServerSettings:
    return ServerSettings(redis=RedisSettings(state_dir=state))


def record(state: Path, count: int, *, actor: str = "key_1") -> None:
    async def run() -> None:
        database = Database(settings(state))
        await database.prepare()
        for number in range(count):
            await _act(database, actor, f"scan_{number}")
        await database.aclose()

    anyio.run(run)


async def _act(database: Database, actor: str, subject: str) -> None:
    def work(connection: sa.Connection) -> None:
        audit.add(connection, actor=actor, action="scan.erase", subject=subject, now=AT)

    await database.write(work, seconds=60)


def verified(state: Path) -> Verified:
    async def run() -> Verified:
        database = Database(settings(state))
        await database.prepare()
        try:
            return await SqlAudit(database).verify()
        finally:
            await database.aclose()

    return anyio.run(run)


def fill(database: Path) -> None:
    """Make the database large."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE ballast (what BLOB)")
        connection.execute("INSERT INTO ballast VALUES (randomblob(?))", [BALLAST_BYTES])


def test_backup_is_put_back_as_it_was(
    state: Path, database: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup([str(file)]) == 0
    head = verified(state).head
    record(state, 2, actor="later")
    lost = verified(state).head

    assert restore([str(file)]) == 0

    found = verified(state)
    assert (found.count, found.fault) == (4, None)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT action, detail_json, previous FROM audit").fetchall()
    action, detail, previous = rows[-1]
    assert (action, previous) == ("database.restore", head.hash)
    assert json.loads(detail) == {"lost_head": str(lost), "scans": 0}
    told = capsys.readouterr()
    assert told.out.splitlines()[0].startswith(f"{file}: 0 scans, ")
    (aside,) = state.glob("records.sqlite3.before-*")
    assert str(aside) in told.err
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (5,)


def test_backup_is_one_file_that_its_owner_alone_can_read(state: Path, file: Path) -> None:
    backup([str(file)])

    assert [found.name for found in file.parent.iterdir()] == [file.name]
    assert file.stat().st_mode & 0o777 == 0o600
    file.parent.chmod(0o500)
    assert inspected(file).scans == 0


def test_scan_that_waited_at_the_backup_is_found_by_the_sweep(state: Path, file: Path) -> None:
    waiting = opened(AT)

    async def submit() -> None:
        records = SqlRecords(settings(state), ManualClock(AT))
        await records.prepare()
        await records.open(waiting)
        await records.aclose()

    async def stale() -> list[str]:
        records = SqlRecords(settings(state), ManualClock(AT))
        await records.prepare()
        found = [entry.scan_id for entry in await records.stale(AT + 100)]
        await records.aclose()
        return found

    anyio.run(submit)
    backup([str(file)])
    for path in state.glob("records.sqlite3*"):
        path.unlink()

    restore([str(file)])

    assert anyio.run(stale) == [waiting.scan.id]


class Writer(threading.Thread):
    """A server that records acts, one commit each, until it is told to stop."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._state = state
        self.is_over = threading.Event()
        self.has_begun = threading.Event()
        self.count = 0

    def run(self) -> None:
        anyio.run(self._write)

    async def _write(self) -> None:
        database = Database(settings(self._state))
        while not self.is_over.is_set():
            await _act(database, "writer", f"scan_{self.count}")
            self.count += 1
            self.has_begun.set()
        await database.aclose()


@contextmanager
def writing(state: Path) -> Iterator[Writer]:
    writer = Writer(state)
    writer.start()
    writer.has_begun.wait()
    yield writer
    writer.is_over.set()
    writer.join()


def test_backup_beside_a_writer_is_a_moment_of_it(
    state: Path, database: Path, file: Path, tmp_path: Path
) -> None:
    fill(database)

    with writing(state) as writer:
        before = writer.count
        assert backup([str(file)]) == 0
        after = writer.count
        assert writer.is_alive()  # no act of it failed

    assert after > before
    (tmp_path / "copy").mkdir(0o700)
    (tmp_path / "copy" / "records.sqlite3").write_bytes(file.read_bytes())
    found = verified(tmp_path / "copy")
    assert found.fault is None
    assert before + 3 <= found.count <= after + 3 + 1


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_one_that_is_killed_leaves_what_was_there_and_the_next_one_works(
    state: Path, database: Path, file: Path, name: str
) -> None:
    fill(database)
    target = file
    if name == "restore":
        backup([str(file)])
        target = database
    code = f"import sys; from server.backup_command import {name}; sys.exit({name}(sys.argv[1:]))"

    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)],
        cwd=ROOT,
        env=inherited(PINCLIP_STATE_DIR=str(state)),
    ) as child:
        part = target.with_name(target.name + PART)
        while child.poll() is None and not part.exists():
            threading.Event().wait(0.001)
        child.kill()

    assert child.returncode == -signal.SIGKILL
    assert part.exists()
    assert target.exists() == (name == "restore")
    assert verified(state).count == 3
    assert {"backup": backup, "restore": restore}[name]([str(file)]) == 0
    assert inspected(target).scans == 0
    assert not part.exists()


def test_backup_does_not_replace_a_file(
    state: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("a letter")

    assert backup([str(file)]) == 2

    assert file.read_text() == "a letter"
    assert f"{file} exists" in capsys.readouterr().err


def test_backup_into_no_folder_is_told(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup([str(tmp_path / "nowhere" / "file")]) == 2

    assert "cannot be written (No such file or directory)" in capsys.readouterr().err


def test_backup_of_a_damaged_database_is_none(state: Path, database: Path, file: Path) -> None:
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + b"\xff" * 8192 + whole[12288:])

    assert backup([str(file)]) == 2

    assert list(file.parent.iterdir()) == []


def test_backup_names_the_key_that_is_not_in_it(
    state: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Signer.of(state)

    backup([str(file)])

    assert str(state / "receipt.key") in capsys.readouterr().err


def test_restore_is_refused_while_the_system_runs(
    state: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup([str(file)])
    with locked(state):
        assert restore([str(file)]) == 3

    assert "already runs" in capsys.readouterr().err
    assert verified(state).count == 3


def test_restore_is_refused_while_another_process_has_the_database_open(
    state: Path, database: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup([str(file)])
    with closing(sqlite3.connect(database)) as other:
        other.execute("SELECT count(*) FROM audit").fetchone()

        assert restore([str(file)]) == 2

        other.execute("SELECT count(*) FROM audit").fetchone()
    assert "stop `pinclip up` and `pinclip serve` first" in capsys.readouterr().err
    assert verified(state).count == 3
    assert list(state.glob("*.before-*")) == []


def test_restore_takes_the_place_of_a_damaged_database_and_its_log(
    state: Path, database: Path, file: Path
) -> None:
    backup([str(file)])
    database.write_bytes(b"hello" * 1000)
    log = database.with_name("records.sqlite3-wal")
    log.write_bytes(b"log" * 1000)

    assert restore([str(file)]) == 0

    assert verified(state).count == 4
    kept = sorted(state.glob("*.before-*"))
    assert [path.read_bytes()[:3] for path in kept] == [b"hel", b"log"]


def _newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _other(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE letters (text)")


def _torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4096])


UNUSABLE = {
    "newer": (_newer, "written by a newer version"),
    "other": (_other, "not a whole database of pinclip"),
    "torn": (_torn, "not a whole database of pinclip"),
    "text": (lambda file: file.write_text("a letter" * 99), "not a whole database of pinclip"),
    "empty": (lambda file: file.write_bytes(b""), "not a whole database of pinclip"),
    "missing": (lambda file: file.unlink(), "There is no file"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_restore_refuses_what_is_no_backup_and_changes_nothing(
    state: Path, file: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, sentence = UNUSABLE[name]
    backup([str(file)])
    spoil(file)

    assert restore([str(file)]) == 2

    assert sentence in capsys.readouterr().err
    assert verified(state).count == 3
    assert list(state.glob("*.before-*")) == []


@pytest.mark.parametrize(
    ("command", "program"),
    [(backup, "pg_dump"), (restore, "pg_restore")],
    ids=["backup", "restore"],
)
def test_postgresql_is_told_its_own_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command, program: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@host/name")

    assert command(["/tmp/a file"]) == 3

    told = capsys.readouterr().err
    assert program in told
    assert "'/tmp/a file'" in told
    assert "hunter2" not in told


def test_no_database_is_no_backup(
    tmp_path: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PINCLIP_STATE_DIR", str(tmp_path / "nothing"))
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert backup([str(file)]) == 3

    assert "There is no database" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
