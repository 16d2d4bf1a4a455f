"""`pinclip audit` as people and scripts use it: what it prints, where, and its exit status."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from server.audit_command import main
from server.settings import ServerSettings
from server.store import audit
from server.store.engine import Database
from worker.contract import RedisSettings

AT = 1_790_000_000.0


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder whose log has three acts, and which the settings name."""
    state = tmp_path / "state"
    monkeypatch.setenv("PINCLIP_STATE_DIR", str(state))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    anyio.run(_record, state)
    return state


async def _record(state: Path) -> None:
    database = Database(ServerSettings(redis=RedisSettings(state_dir=state)))
    await database.prepare()

    def act(connection: sa.Connection) -> None:
        for number, actor in enumerate(("key_1", "key_2", "key_1"), start=1):
            audit.add(
                connection,
                actor=actor,
                action="key.revoke",
                subject=f"key_{number}0",
                detail={"n": number},
                now=AT,
            )

    await database.write(act)
    await database.aclose()


def tamper(state: Path, statement: str) -> None:
    with closing(sqlite3.connect(state / "records.sqlite3")) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("DROP TRIGGER audit_no_delete")
        connection.execute(statement)


def test_verify_says_that_the_log_is_whole(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0

    told = capsys.readouterr()
    assert told.out.startswith("whole: 3 rows, head 3:")
    assert told.err == ""


def test_verify_says_which_row_was_touched_and_how(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(state, "UPDATE audit SET actor = 'nobody' WHERE seq = 2")

    assert main(["verify"]) == 4

    told = capsys.readouterr()
    assert told.err.startswith("pinclip audit: row 2 is changed: ")
    assert told.out == ""


def test_verify_as_json_has_the_same(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tamper(state, "DELETE FROM audit WHERE seq = 2")

    assert main(["verify", "--json"]) == 4

    found = json.loads(capsys.readouterr().out)
    assert (found["count"], found["fault"]["seq"], found["fault"]["kind"]) == (1, 2, "missing")


def test_head_is_printed_alone_and_taken_back_until_the_end_is_cut_off(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["verify", "--head"])
    head = capsys.readouterr().out.strip()

    assert main(["verify", "--expect", head]) == 0
    tamper(state, "DELETE FROM audit WHERE seq = 3")
    assert main(["verify"]) == 0
    assert main(["verify", "--expect", head]) == 4
    assert "its end is cut off" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["3", "3:abc", "x:" + "a" * 64])
def test_head_that_is_none_is_misuse(
    state: Path, capsys: pytest.CaptureFixture[str], head: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--expect", head])

    assert ended.value.code == 2
    assert "SEQ:HASH" in capsys.readouterr().err


def test_list_prints_the_newest_first(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert lines[0].split()[1:] == [
        "2026-09-21T14:13:20.000Z",
        "key_1",
        "key.revoke",
        "key_30",
        '{"n":3}',
    ]


def test_list_takes_filters_and_prints_json(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["list", "--actor", "key_1", "--action", "key.revoke", "--limit", "1", "--json"])
    main(["list", "--subject", "key_20", "--json"])

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["seq"], first["actor"], first["detail"]) == (3, "key_1", {"n": 3})
    assert (second["seq"], second["subject"]) == (2, "key_20")


def test_no_database_is_told_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINCLIP_STATE_DIR", str(tmp_path / "nothing"))
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert main(["verify"]) == 3

    assert "There is no database" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_damaged_database_is_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "records.sqlite3").write_bytes(b"hello" * 1000)

    assert main(["verify"]) == 3

    (line,) = capsys.readouterr().err.splitlines()
    assert "is damaged" in line


@pytest.mark.parametrize("words", [[], ["erase"], ["list", "--limit", "0"]])
def test_misuse_is_told(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
