"""sdk.commands.check: what `pinclip check` prints for people and programs, and its statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import sdk
from sdk.commands.check import checked, exit_code
from sdk.commands.check import main as check
from sdk.commands.exits import MEANINGS, Exit
from sdk.commands.words import WORDS, Outcome, json_line, line
from sdk.environment import inherited

from .conftest import SCAN_ID, ManualClock, Origin, Reply, accepted, failed, ok, problem, scan
from .conftest import uploaded as taken

URL = "https://example.org/picture.jpg"
ROOT = str(Path(sdk.__file__).parent.parent)
CODE = "import sys; from sdk.commands.check import main; sys.exit(main(sys.argv[1:]))"
SLOW = {"Retry-After": "999"}  # longer than the client waits, so that it does not try again


@pytest.fixture(autouse=True)
def _server(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("no_sign_of_ai", 0), ("likely_ai", 10), ("declared_ai", 11), ("inconclusive", 12)],
)
def test_check_has_a_status_for_each_verdict(origin: Origin, verdict: str, status: int) -> None:
    origin.will(accepted(), ok(scan(verdict=verdict)))

    assert check([URL]) == status


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        pytest.param(problem("unknown", 401), 3, id="no key"),
        pytest.param(problem("unknown", 403), 3, id="key may not"),
        pytest.param(problem("url_invalid"), 4, id="URL refused"),
        pytest.param(problem("address_blocked"), 4, id="address refused"),
        pytest.param(ok(failed()), 4, id="scan failed"),
        pytest.param(problem("unknown", 429, headers=SLOW), 5, id="too many requests"),
        pytest.param(problem("queue_full", headers=SLOW), 5, id="server busy"),
        pytest.param(Reply(200, b"<html>"), 5, id="page of a proxy"),
        pytest.param(Reply(404, b"<html>"), 5, id="not a pinclip server"),
        pytest.param(ok(scan("queued"), 202), 6, id="no verdict in time"),
    ],
)
def test_check_has_a_status_for_each_error(
    origin: Origin, capsys: pytest.CaptureFixture[str], reply: Reply, status: int
) -> None:
    origin.will(reply, reply)

    assert check([URL, "--wait", "0"]) == status

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"pinclip check: {URL}: ")
    assert told.err.count("\n") == 1


def test_check_sends_a_file(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    origin.will(taken(), ok(scan()))

    options = ["--operating-point", "strict", "--priority", "bulk"]
    assert check([str(tmp_path / "a.jpg"), *options]) == Exit.LIKELY_AI

    upload, post = origin.seen
    assert upload.body == b"abc"
    assert (post.json["operating_point"], post.json["priority"]) == ("strict", "bulk")


@pytest.mark.parametrize("name", ["gone.jpg", ".", "empty.jpg"])
def test_check_calls_a_file_that_cannot_be_read_misuse(
    origin: Origin, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "empty.jpg").touch()

    assert check([str(tmp_path / name)]) == Exit.USAGE

    assert str(tmp_path / name) in capsys.readouterr().err
    assert origin.seen == []


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--wait", "x", URL],
        ["--wait", "-1", URL],
        ["--wait", "nan", URL],
        ["--point", URL],
        ["--priority", "high", URL],
    ],
)
def test_check_refuses_misuse(origin: Origin, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        check(argv)

    assert caught.value.code == Exit.USAGE
    assert origin.seen == []


def test_check_tells_wrong_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINCLIP_API_KEY", "a b")

    assert check([URL, "--base-url", "nonsense"]) == Exit.AUTH

    assert capsys.readouterr().err.count("pinclip check: PINCLIP_") == 2


def test_check_prints_a_line_an_image(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    origin.will(ok(scan()), ok(scan(verdict="inconclusive", warnings=("small_image",))))

    check([URL, "http://b.example"])

    assert capsys.readouterr().out.splitlines() == [
        f"{URL}: Likely AI, probability 0.91; "
        "about 3 in 100 real photos like this get this label (n=2488)",
        "http://b.example: Can't tell, probability 0.91; warnings: small image",
    ]


def test_check_prints_json_for_every_input_in_order(
    origin: Origin, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    origin.will(ok(scan()), ok(failed()), ok(scan("queued"), 202), ok(scan("queued"), 202))

    status = check(["--json", "--wait", "0", URL, URL, URL, str(tmp_path / "gone.jpg")])

    first, second, third, fourth = map(msgspec.json.decode, capsys.readouterr().out.splitlines())
    assert msgspec.convert(first, sdk.Scan) == scan()
    assert (second["id"], second["error"]["code"]) == (SCAN_ID, "fetch_forbidden")
    assert third["error"]["code"] == "scan_timeout"
    assert third["error"]["scan_id"] == SCAN_ID
    assert fourth["error"]["code"] == "file_unreadable"
    assert fourth["input"].endswith("gone.jpg")
    assert status == Exit.PARTIAL


def _outcomes(*results: Any) -> list[Outcome]:
    return [Outcome("x", result) for result in results]


CLEAR, UNSURE, DECLARED, LIKELY = (scan(verdict=verdict) for verdict in reversed(WORDS))
REFUSED = sdk.InputError("No.")
LOST = sdk.APIConnectionError("Nobody.")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param(_outcomes(CLEAR, CLEAR), Exit.NO_SIGN_OF_AI, id="all clear"),
        pytest.param(_outcomes(CLEAR, UNSURE), Exit.INCONCLUSIVE, id="one unsure"),
        pytest.param(_outcomes(UNSURE, DECLARED, CLEAR), Exit.DECLARED_AI, id="one declared"),
        pytest.param(_outcomes(CLEAR, LIKELY, DECLARED), Exit.LIKELY_AI, id="one likely"),
        pytest.param(_outcomes(LIKELY, LOST), Exit.PARTIAL, id="a verdict and an error"),
        pytest.param(_outcomes(CLEAR, REFUSED), Exit.PARTIAL, id="clear and an error"),
        pytest.param(_outcomes(REFUSED, LOST), Exit.PARTIAL, id="different errors"),
        pytest.param(_outcomes(LOST, LOST), Exit.SERVER, id="the same error"),
    ],
)
def test_exit_code_is_the_gravest_verdict_or_partial(
    outcomes: list[Outcome], expected: Exit
) -> None:
    assert exit_code(outcomes) == expected
    assert exit_code(outcomes[::-1]) == expected


def test_statuses_are_as_documented_and_leave_1_to_crashes() -> None:
    assert sorted(MEANINGS) == sorted(Exit) == [0, 2, 3, 4, 5, 6, 7, 10, 11, 12]


def test_checked_asks_no_more_once_the_key_is_refused(origin: Origin) -> None:
    origin.will(problem("unknown", 401))

    with sdk.Client() as client:
        outcomes = list(checked(client, [URL, URL, URL], wait=1))

    assert [type(outcome.result) for outcome in outcomes] == [sdk.AuthenticationError] * 3
    assert len(origin.seen) == 1


def test_checked_goes_on_after_an_error_of_one_image(origin: Origin, clock: ManualClock) -> None:
    origin.will(ok(failed()), problem("url_invalid"), ok(scan()))

    with sdk.Client(_clock=clock) as client:
        outcomes = list(checked(client, [URL, URL, URL], wait=1))

    assert [outcome.exit for outcome in outcomes] == [4, 4, 10]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        pytest.param(
            scan(verdict="no_sign_of_ai"),
            "No sign of AI, probability 0.91; which does not prove that it is real",
            id="clear",
        ),
        pytest.param(
            scan(verdict="inconclusive", reasons=(sdk.Reason("x", "The score lies between."),)),
            "Can't tell, probability 0.91; The score lies between",
            id="between",
        ),
        pytest.param(
            scan(verdict="inconclusive", probability=None),
            "Can't tell, score 0.94 (not calibrated)",
            id="not calibrated",
        ),
        pytest.param(
            scan(verdict="inconclusive", probability=None, score=None), "Can't tell", id="no score"
        ),
        pytest.param(
            scan(
                verdict="declared_ai",
                declaration=sdk.Declaration(kind="xmp", trust="unsigned"),
                warnings=("declaration_unsigned", "small_image"),
            ),
            "Declared AI, probability 0.91; its xmp says so (unsigned); "
            "warnings: declaration unsigned, small image",
            id="declared",
        ),
        pytest.param(scan(operating_point=None), "Likely AI, probability 0.91", id="no point"),
    ],
)
def test_line_tells_a_person_what_was_found(result: sdk.Scan, said: str) -> None:
    assert line(Outcome("a.jpg", result)) == f"a.jpg: {said}"


@pytest.mark.parametrize(
    ("slice_", "people"),
    [("illustration", "illustrations by people"), ("of_the_future", "real images")],
)
def test_line_names_the_images_that_the_rate_was_measured_on(slice_: str, people: str) -> None:
    point = msgspec.structs.replace(scan().operating_point, slice=slice_)  # type: ignore[type-var] # it has one

    assert f"100 {people} like" in line(Outcome("a.jpg", scan(operating_point=point)))


@pytest.mark.parametrize("name", ["a\x1b[2J.jpg", "a\n0.jpg", "a\udcff.jpg", "a\u202egpj.exe"])
def test_line_lets_no_name_steer_the_terminal(name: str) -> None:
    for text in (
        line(Outcome(name, scan())),
        line(Outcome(name, LOST)),
        json_line(Outcome(name, LOST)),
    ):
        assert text.isprintable()
        text.encode()


def test_line_keeps_names_of_every_language() -> None:
    assert line(Outcome("写真 à.jpg", scan())).startswith("写真 à.jpg: ")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_json_is_json_whatever_stdout_can_write(tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "--json", "é\N{GRINNING FACE}.jpg", b"\xff.jpg"],
        cwd=tmp_path,
        env=inherited(
            PYTHONIOENCODING=encoding, PYTHONPATH=ROOT, PINCLIP_BASE_URL="http://[::1]:1"
        ),
        capture_output=True,
        check=False,
    )

    told = [msgspec.json.decode(line)["input"] for line in done.stdout.splitlines()]
    assert done.returncode == Exit.USAGE
    assert told == ["é\N{GRINNING FACE}.jpg", "\\udcff.jpg"]


def test_json_tells_of_a_file_whose_name_is_not_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "\udcff.jpg").write_bytes(b"")

    assert check(["--json", str(tmp_path / "\udcff.jpg")]) == Exit.USAGE

    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["error"]["message"] == f"{tmp_path}/\\udcff.jpg is empty."


def test_check_tells_a_proxy_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "smoke://127.0.0.1:1")

    assert check([URL, "--base-url", "https://example.org"]) == Exit.AUTH

    assert "ALL_PROXY" in capsys.readouterr().err
