"""`pinclip submit`, `wait`, `lookup` and `appeal` against the real API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import sdk
from sdk.commands import appeal, lookup, submit, wait
from sdk.commands.exits import Exit
from sdk.wire import Appeal

from .conftest import Origin, Reply, failed, ok, problem, scan
from .quiet_api import quiet_api

pytestmark = pytest.mark.redis
URL = "https://example.org/picture.jpg"
FORBIDDEN = "https://example.org/forbidden.jpg"
SLOW = "https://example.org/slow.jpg"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with quiet_api() as url:
        yield url


@pytest.fixture
def server(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PINCLIP_BASE_URL", url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)
    return url


@pytest.fixture
def scripted(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Origin:
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)
    return origin


def picture(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.usefixtures("server")
def test_submit_prints_ids_that_wait_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = picture(tmp_path, "a.png", b"submitted")

    assert submit.main([URL, str(file)]) == Exit.DONE

    ids = capsys.readouterr().out.split()
    assert len(ids) == 2
    assert all(re.fullmatch(r"scan_\w+", one) for one in ids)
    assert wait.main(ids) == Exit.LIKELY_AI
    lines = capsys.readouterr().out.splitlines()
    assert [text.partition(":")[0] for text in lines] == ids
    assert all("about 3 in 100 real photos" in text for text in lines)


@pytest.mark.usefixtures("server")
def test_submit_goes_on_after_an_input_that_cannot_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = str(tmp_path / "gone.png")

    assert submit.main(["--json", gone, URL]) == Exit.PARTIAL

    told = capsys.readouterr()
    first, second = map(msgspec.json.decode, told.out.splitlines())
    assert first["error"]["code"] == "file_unreadable"
    assert second["id"].startswith("scan_")
    assert told.err.startswith(f"pinclip: {gone}: No such file")


def test_submit_asks_no_more_once_the_key_is_refused(
    scripted: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.will(problem("auth_invalid"))

    assert submit.main([URL, URL, URL]) == Exit.AUTH

    assert len(scripted.seen) == 1
    assert capsys.readouterr().err.count("401 auth_invalid") == 3


@pytest.mark.usefixtures("server")
def test_wait_tells_what_has_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    submit.main([FORBIDDEN, SLOW, URL])
    refused, slow, good = capsys.readouterr().out.split()

    assert wait.main([refused]) == Exit.SCAN_FAILED
    assert wait.main([slow, "--wait", "0"]) == Exit.TIMEOUT
    assert wait.main(["scan_unknown"]) == Exit.SCAN_FAILED
    assert wait.main([good, slow, "--wait", "1"]) == Exit.PARTIAL

    told = capsys.readouterr()
    assert "fetch_forbidden" in told.err
    assert "not_found" in told.err
    assert told.out.splitlines()[0].startswith(f"{good}: Likely AI")


def test_wait_gives_all_scans_together_its_seconds(scripted: Origin) -> None:
    scripted.will(*[ok(scan("queued"), 202)] * 9)

    assert wait.main(["scan_1", "scan_2", "scan_3", "--wait", "0"]) == Exit.TIMEOUT

    assert [seen.path for seen in scripted.seen] == [f"/v1/scans/scan_{n}" for n in (1, 2, 3)]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("options", [[], ["--private"]])
def test_lookup_tells_what_is_known_without_sending_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    known = picture(tmp_path, "known.png", b"known to the server")
    never = picture(tmp_path, "never.png", b"never seen")
    with sdk.Client() as client:
        client.check(known)
    digest = hashlib.sha256(known.read_bytes()).hexdigest()

    assert lookup.main([str(known), *options]) == Exit.LIKELY_AI
    assert lookup.main([digest.upper(), *options]) == Exit.LIKELY_AI
    assert lookup.main([str(never), *options]) == Exit.SCAN_FAILED

    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{known}: Likely AI, probability 0.91; about 3 in 100 real photos")
    assert second.startswith(f"{digest.upper()}: Likely AI")
    assert third == f"{never}: {lookup.NOT_KNOWN}"


def test_lookup_in_private_shows_the_server_five_digits(scripted: Origin, tmp_path: Path) -> None:
    file = picture(tmp_path, "a.png", b"mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    scripted.will(Reply(200, b'{"prefix": "%s", "data": []}' % digest[:5].encode()))

    assert lookup.main([str(file), "--private"]) == Exit.SCAN_FAILED

    (seen,) = scripted.seen
    assert digest[:5] in seen.path
    assert digest[:6] not in seen.path
    assert seen.body == b""


@pytest.mark.usefixtures("server")
def test_lookup_answers_for_the_files_that_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, never = str(tmp_path / "gone.png"), str(picture(tmp_path, "never.png", b"never"))

    assert lookup.main([gone, never, "--json"]) == Exit.PARTIAL
    assert lookup.main([gone]) == Exit.USAGE

    first, second = map(msgspec.json.decode, capsys.readouterr().out.splitlines())
    assert (first["input"], first["error"]["code"]) == (gone, "file_unreadable")
    assert (second["input"], second["verdict"]) == (never, None)


@pytest.mark.usefixtures("server")
def test_appeal_is_lodged_once(capsys: pytest.CaptureFixture[str]) -> None:
    with sdk.Client() as client:
        found = client.check(URL + "?appealed")

        assert appeal.main([found.id, "--reason", "I drew it.", "--json"]) == Exit.DONE
        lodged = msgspec.json.decode(capsys.readouterr().out, type=Appeal)
        assert client.appeals.get(lodged.id).reason == "I drew it."

    assert appeal.main([found.id, "--reason", "Again."]) == Exit.SCAN_FAILED
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("pinclip: 409 appeal_exists")
    assert told.err.count("\n") == 1


COMMANDS = {
    "submit": lambda: submit.main([URL]),
    "wait": lambda: wait.main(["scan_1", "--wait", "0"]),
    "lookup": lambda: lookup.main(["0" * 64]),
    "appeal": lambda: appeal.main(["scan_1", "--reason", "No."]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        pytest.param(problem("auth_invalid"), Exit.AUTH, id="wrong key"),
        pytest.param(problem("scope_missing"), Exit.AUTH, id="key may not"),
        pytest.param(Reply(200, b"<html>"), Exit.SERVER, id="page of a proxy"),
        pytest.param(Reply(404, b"<html>"), Exit.SERVER, id="another program"),
        pytest.param(Reply(200, b'{"id": "scan'), Exit.SERVER, id="cut off"),
        pytest.param(problem("url_invalid"), Exit.SCAN_FAILED, id="refused"),
    ],
)
def test_commands_tell_what_is_wrong_in_a_sentence(
    scripted: Origin,
    capsys: pytest.CaptureFixture[str],
    command: str,
    reply: Reply,
    status: Exit,
) -> None:
    scripted.will(reply)

    assert COMMANDS[command]() == status

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("pinclip: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_tell_wrong_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", "nonsense")

    assert COMMANDS[command]() == Exit.AUTH

    assert capsys.readouterr().err.startswith("pinclip: PINCLIP_BASE_URL")


def test_wait_prints_a_failed_scan_as_the_server_gave_it(
    scripted: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.will(ok(failed()))

    assert wait.main(["scan_1", "--json"]) == Exit.SCAN_FAILED

    told = msgspec.json.decode(capsys.readouterr().out, type=sdk.Scan)
    assert told.error is not None
    assert told.error.code == "fetch_forbidden"


def test_lookup_answers_for_each_input_though_it_cannot_be_asked(
    scripted: Origin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.will(problem("auth_invalid"))

    status = lookup.main(["0" * 64, str(tmp_path / "gone.jpg"), "--json"])

    told = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert status == Exit.PARTIAL
    assert [one["error"]["code"] for one in told] == ["auth_invalid", "file_unreadable"]
