"""`pinclip keys`: what it prints where, and that what it makes works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.wire import Scope
from server.auth import Authenticator
from server.clock import SystemClock
from server.keys_command import main
from server.refused import Refused
from server.rules.caller import Caller, Limits
from server.rules.keys import is_whole
from server.settings import ServerSettings
from server.store.audit import SqlAudit
from server.store.engine import Database
from server.store.keys import SqlKeys
from worker.contract import RedisSettings

ROOT = Path(__file__).parents[2]
CREATE = ("create", "--owner", "acme", "--name", "bot", "--scope", "scan")

pytestmark = pytest.mark.anyio


class Shell:
    """Runs the command, and keeps what it wrote."""

    def __init__(self, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = ServerSettings(redis=RedisSettings(state_dir=state_dir))
        self._capsys = capsys

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Return the status, what is on stdout and what is on stderr."""
        try:
            status = main(argv)
        except SystemExit as ended:
            status = int(ended.code or 0)
        written = self._capsys.readouterr()
        return status, written.out, written.err

    def key(self, *argv: str) -> str:
        """Return the key that this prints; fail if it prints anything else."""
        status, out, err = self.run(*argv)
        assert status == 0, err
        assert is_whole(out[:-1])
        assert out.endswith("\n")
        return out[:-1]

    def listed(self) -> list[dict[str, object]]:
        """Return all keys, newest first."""
        status, out, _ = self.run("list", "--json")
        assert status == 0
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    state_dir = tmp_path / "state"
    monkeypatch.setenv("PINCLIP_STATE_DIR", str(state_dir))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return Shell(state_dir, capsys)


def who(shell: Shell, text: str) -> Caller:
    """Return whom a server of the same state folder takes this key for; raises Refused."""
    import anyio

    async def ask() -> Caller:
        database = Database(shell.settings)
        try:
            finder = Authenticator(SqlKeys(database), SystemClock(), is_local=True)
            return await finder.caller(authorization=[f"Bearer {text}"], page=None)
        finally:
            await database.aclose()

    return anyio.run(ask)


def test_key_is_printed_once_on_stdout_alone_and_works(shell: Shell) -> None:
    status, out, err = shell.run(*CREATE, "--scope", "read", "--rate", "600/min", "--quota", "9")

    caller = who(shell, out.strip())
    assert status == 0
    assert out.strip() not in err
    assert caller.key_id is not None
    assert caller.key_id in err
    assert caller.owner == "acme"
    assert caller.scopes == {Scope.SCAN, Scope.READ}
    assert caller.limits == Limits(rate_per_minute=600, quota_per_day=9)
    assert caller.expires_at is None
    assert out.strip() not in shell.run("list")[1] + shell.run("list", "--json")[1]


def test_publishable_key_names_its_origins(shell: Shell) -> None:
    text = shell.key(*CREATE, "--publishable", "--origin", "https://acme.example")

    assert text.startswith("pk_")
    assert shell.listed()[0]["origins"] == ["https://acme.example"]


def test_key_is_revoked(shell: Shell) -> None:
    text = shell.key(*CREATE)
    key_id = str(shell.listed()[0]["id"])

    status, out, err = shell.run("revoke", key_id)

    assert (status, out) == (0, "")
    assert f"{key_id} (bot) is revoked" in err
    with pytest.raises(Refused, match="key_revoked"):
        who(shell, text)
    assert shell.run("revoke", key_id)[0] == 2


def test_rotated_key_works_beside_its_successor(shell: Shell) -> None:
    old = shell.key(*CREATE, "--expires", "90d", "--parallel", "64")
    key_id = str(shell.listed()[0]["id"])

    new = shell.key("rotate", key_id, "--overlap", "1h")

    assert who(shell, old).limits == who(shell, new).limits == Limits(parallel=64)
    assert (who(shell, old).expires_at or 0) < (who(shell, new).expires_at or 0)


def test_rotation_without_overlap_ends_the_old_key_now(shell: Shell) -> None:
    old = shell.key(*CREATE)

    shell.key("rotate", str(shell.listed()[0]["id"]), "--overlap", "0s")

    with pytest.raises(Refused, match="key_revoked"):
        who(shell, old)


def test_list_for_people_is_a_table(shell: Shell) -> None:
    shell.key(*CREATE, "--rate", "600/min", "--parallel", "64", "--quota", "100000/day")
    empty, _ = shell.run("list")[1].splitlines()

    status, out, err = shell.run("list")

    head, row = out.splitlines()
    assert (status, err) == (0, "")
    assert head == empty
    assert head.split("  ")[0] == "ID"
    assert "600/min, 64 at a time, 100000/day" in row
    assert row.index("live") == head.index("STATE")


def test_every_act_is_in_the_audit_log(shell: Shell) -> None:
    import anyio

    shell.key(*CREATE)
    key_id = str(shell.listed()[0]["id"])
    shell.key("rotate", key_id)
    shell.run("revoke", key_id)

    async def entries() -> list[tuple[str, str]]:
        database = Database(shell.settings)
        try:
            found = await SqlAudit(database).entries()
        finally:
            await database.aclose()
        return [(entry.action, entry.actor) for entry in found]

    actions = anyio.run(entries)
    assert [action for action, _ in actions] == ["key.revoke", "key.rotate", "key.create"]
    assert all(actor.startswith("command:uid-") for _, actor in actions)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("create",), "--owner"),
        ((*CREATE, "--scope", "root"), "root"),
        ((*CREATE, "--expires", "soon"), "'soon' is no time: write 90d"),
        ((*CREATE, "--rate", "600/h"), "'600/h' is no count: write 600 or 600/min"),
        ((*CREATE, "--rate", "0"), "rate_per_minute is 0"),
        ((*CREATE, "--publishable"), "needs the origins"),
        ((*CREATE, "--publishable", "--origin", "*"), "The origin is '*'"),
        ((*CREATE, "--origin", "https://a.example"), "Only a publishable key"),
        (("revoke", "key_1"), "There is no key 'key_1'"),
        (("rotate", "nonsense"), "There is no key 'nonsense'"),
        ((), "VERB"),
    ],
)
def test_misuse_is_told_and_nothing_is_made(shell: Shell, argv: tuple[str, ...], told: str) -> None:
    status, out, err = shell.run(*argv)

    assert (status, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert shell.listed() == []


def test_wrong_settings_are_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://x")

    status, _, err = shell.run("list")

    assert status == 3
    assert err.startswith("pinclip: DATABASE_URL")


def test_damaged_database_is_told(shell: Shell) -> None:
    state_dir = shell.settings.redis.state_dir
    state_dir.mkdir()
    (state_dir / "records.sqlite3").write_bytes(b"hello" * 1000)

    status, _, err = shell.run("list")

    assert status == 3
    assert err.startswith("pinclip: The database")
    assert "is damaged" in err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, server.keys_command as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted({'sqlalchemy', 'litestar', 'redis', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.splitlines()[-1] == ""
