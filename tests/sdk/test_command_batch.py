"""`pinclip batch`: every row comes to a line, and a second run asks only for what is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdk.commands import batch
from sdk.commands.exits import Exit
from sdk.commands.results import Results
from sdk.commands.rows import Broken, Row, read
from sdk.errors import InputError

from .conftest import Origin, Reply, ok, problem, scan
from .conftest import uploaded as taken
from .quiet_api import quiet_api

GOOD = "https://example.org/picture.jpg"
FORBIDDEN = "https://example.org/forbidden.jpg"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text to a file of the test's own folder: IN.csv."""

    def write(text: str, name: str = "in.csv") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def scripted(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Origin:
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)
    return origin


def lines(out: Path) -> dict[str, Any]:
    """Return the lines of OUT by id; there is one for each."""
    decoded = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    assert len({line["id"] for line in decoded}) == len(decoded)
    return {line["id"]: line for line in decoded}


def rows(path: Path) -> list[tuple[Any, ...]]:
    return [
        ("broken", row.line, row.id) if isinstance(row, Broken) else (row.line, row.id, row.image)
        for row in read(path)
    ]


# IN


def test_read_takes_urls_and_paths_with_and_without_ids(write: Write, tmp_path: Path) -> None:
    table = write(f"\ufeffID, url ,Path\n1,{GOOD},\n\n,,a/b.png\n3,,/c.png\n")

    assert rows(table) == [
        (2, "1", GOOD),
        (4, "a/b.png", tmp_path / "a" / "b.png"),
        (5, "3", Path("/c.png")),
    ]


def test_read_takes_a_line_each_of_a_text(write: Write, tmp_path: Path) -> None:
    text = write(f"{GOOD}\n\n  a b.png \n", "in.txt")

    assert rows(text) == [(1, GOOD, GOOD), (3, "a b.png", tmp_path / "a b.png")]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("x,,", id="neither"),
        pytest.param(f"x,{GOOD},a.png", id="both"),
        pytest.param("x,ftp://example.org/a.png,", id="another scheme"),
        pytest.param(f"x,{GOOD},,too,many", id="more fields than named"),
    ],
)
def test_read_tells_a_row_that_names_no_image_and_goes_on(write: Write, row: str) -> None:
    assert rows(write(f"id,url,path\n{row}\ny,{GOOD},\n")) == [("broken", 2, "x"), (3, "y", GOOD)]


def test_read_keeps_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"\xff.png\n")

    (row,) = read(tmp_path / "in.txt")

    assert isinstance(row, Row)
    assert row.image == tmp_path / "\udcff.png"
    assert row.id.isprintable()


@pytest.mark.parametrize(("name", "text"), [("in.csv", "id,link\n1,x\n"), ("in.xlsx", "PK")])
def test_read_refuses_what_it_cannot_read(write: Write, name: str, text: str) -> None:
    with pytest.raises(InputError):
        list(read(write(text, name)))


# OUT


def test_results_drop_a_torn_line_and_errors_and_keep_answers(out: Path) -> None:
    answer = b'{"id":"1","input":"a","scan":{"id":"scan_1"}}\n'
    error = b'{"id":"2","input":"b","line":3,"error":{"code":"x"}}\n'
    out.write_bytes(answer + error + answer.replace(b"1", b"3") + b'{"id":"4","inp')

    with Results(out) as results:
        results.add("5", "c", {"scan": {}})

    assert set(lines(out)) == {"1", "3", "5"}
    assert results.answered == {"1": "a", "3": "a"}


@pytest.mark.parametrize(
    "text",
    ["id,url\n", '{"id": 1}\n', '{"id":"1","input":"a","verdict":"likely_ai"}\n', "[]\n", "\n"],
)
def test_results_leave_the_file_of_another_program_as_it_is(out: Path, text: str) -> None:
    out.write_text(text + "torn")

    with pytest.raises(InputError, match="not of `pinclip batch`"):
        Results(out)

    assert out.read_text() == text + "torn"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"one line of a letter", id="text without an end of line"),
        pytest.param(b'{"id":"1","colour":"red"}', id="JSON without an end of line"),
        pytest.param(b'{"id":"\xff","input":"a","scan":{}}\n', id="not UTF-8"),
        pytest.param(b"[" * 100_000 + b"\n", id="too deep"),
    ],
)
def test_results_never_drop_what_is_not_theirs(out: Path, data: bytes) -> None:
    out.write_bytes(data)

    with pytest.raises(InputError, match="not of `pinclip batch`"):
        Results(out)

    assert out.read_bytes() == data


def test_results_end_the_line_of_a_whole_answer(out: Path) -> None:
    out.write_bytes(b'{"id":"1","input":"a","scan":{"id":"scan_1"}}')

    with Results(out) as results:
        results.add("2", "b", {"scan": {}})

    assert set(lines(out)) == {"1", "2"}


def test_results_are_mended_where_a_link_leads_and_stay_private(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.jsonl"
    target.write_text('{"id":"torn')
    target.chmod(0o600)
    out.symlink_to(target)

    with Results(out) as results:
        results.add("1", "a", {"scan": {}})

    assert out.is_symlink()
    assert set(lines(target)) == {"1"}
    assert target.stat().st_mode & 0o777 == 0o600


def test_results_are_a_file(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path):  # the first would never be read to its end
        with pytest.raises(InputError, match="not a file"):
            Results(path)


def test_results_are_written_by_one_run_at_a_time(out: Path) -> None:
    out.write_text('{"id":"torn')
    with Results(out), pytest.raises(InputError, match="Another run"):
        Results(out)

    Results(out).close()


# The whole


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with quiet_api() as url:
        yield url


@pytest.fixture
def server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)


@pytest.mark.redis
@pytest.mark.usefixtures("server")
def test_batch_answers_what_it_can_and_the_rest_when_it_is_mended(
    write: Write, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    table = (
        f"id,url,path\n1,{GOOD},\n2,,a.png\n3,,later.png\n4,{FORBIDDEN},\n5,,\n1,{GOOD},\n"
        f"1,{GOOD}?2,\n"
    )

    assert batch.main([str(write(table)), "-o", str(out)]) == Exit.PARTIAL

    first = lines(out)
    assert first["1"]["input"] == GOOD
    assert first["1"]["scan"]["verdict"] == first["2"]["scan"]["verdict"] == "likely_ai"
    codes = {row: line["error"]["code"] for row, line in first.items() if "error" in line}
    assert codes == {
        "3": "file_unreadable",
        "4": "fetch_forbidden",
        "5": "row_unusable",
        "line 8": "row_unusable",
    }
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("pinclip: 2 of 6 rows have a verdict (new: 2 Likely AI); without: ")

    (tmp_path / "later.png").write_bytes(b"later")
    mended = f"id,url,path\n1,{GOOD},\n2,,a.png\n3,,later.png\n4,{GOOD}?4,\n"
    assert batch.main([str(write(mended)), "-o", str(out)]) == Exit.DONE

    second = lines(out)
    assert set(second) == {"1", "2", "3", "4"}
    assert second["1"]["scan"]["id"] == first["1"]["scan"]["id"]
    assert second["3"]["scan"]["verdict"] == "likely_ai"


def test_batch_sends_nothing_that_is_answered(
    scripted: Origin, write: Write, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    table = write(f"url,path\n{GOOD},\n,a.png\n")
    scripted.will(ok(scan()), taken(), ok(scan()))
    options = [str(table), "-o", str(out), "--concurrency", "1", "--operating-point", "strict"]

    assert batch.main(options) == Exit.DONE
    asked = [one.json for one in scripted.seen if one.path == "/v1/scans"]
    assert {(one["priority"], one["operating_point"]) for one in asked} == {("bulk", "strict")}
    out.write_bytes(out.read_bytes() + b'{"id":"torn')
    del scripted.seen[:]

    assert batch.main(options) == Exit.DONE
    assert scripted.seen == []
    assert set(lines(out)) == {GOOD, "a.png"}


def test_batch_stops_when_the_key_is_refused(
    scripted: Origin, write: Write, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.will(problem("auth_invalid"))
    text = write("".join(f"{GOOD}?{n}\n" for n in range(1000)), "in.txt")

    assert batch.main([str(text), "-o", str(out), "--concurrency", "1"]) == Exit.AUTH

    assert len(scripted.seen) == 1
    assert len(lines(out)) == 1
    assert "the rest was not sent" in capsys.readouterr().err


def test_batch_tells_a_proxy_page_of_each_row(scripted: Origin, write: Write, out: Path) -> None:
    scripted.will(Reply(200, b"<html>"), ok(scan()))
    text = write(f"{GOOD}?1\n{GOOD}?2\n", "in.txt")

    assert batch.main([str(text), "-o", str(out), "--concurrency", "1"]) == Exit.PARTIAL

    assert lines(out)[f"{GOOD}?1"]["error"]["code"] == "response_invalid"


def test_tally_gives_up_only_after_several_rows_without_any_answer() -> None:
    lost = batch.APIConnectionError("Nobody.")
    tally = batch.Tally(9)

    for result in (lost, lost, scan(), lost, lost):
        tally.add(result)
        assert tally.ended is None
    tally.add(lost)

    assert tally.ended is lost
    assert tally.exit == Exit.PARTIAL


def test_batch_goes_on_after_it_was_killed(scripted: Origin, write: Write, out: Path) -> None:
    scripted.will(ok(scan()))  # and no reply to the second
    text = write(f"{GOOD}?1\n{GOOD}?2\n", "in.txt")
    argv = [str(text), "-o", str(out), "--concurrency", "1"]
    code = "import sys; from sdk.commands.batch import main; main(sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", code, *argv]) as process:
        while len(scripted.seen) < 2:
            assert process.poll() is None
            scripted.release.wait(0.02)
        process.kill()
    assert set(lines(out)) == {f"{GOOD}?1"}

    scripted.will(ok(scan()))
    assert batch.main(argv) == Exit.DONE

    assert [one.json["url"] for one in scripted.seen] == [
        f"{GOOD}?1",
        f"{GOOD}?2",
        f"{GOOD}?2",
    ]


@pytest.mark.parametrize("argv", [["in.csv"], ["in.csv", "-o", "x", "--concurrency", "0"]])
def test_batch_refuses_misuse(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        batch.main(argv)

    assert caught.value.code == Exit.USAGE


@pytest.mark.usefixtures("scripted")
def test_batch_refuses_files_that_cannot_be_used(
    write: Write, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write("url\n")

    assert batch.main([str(tmp_path / "gone.csv"), "-o", str(out)]) == Exit.USAGE
    assert batch.main([str(table), "-o", str(tmp_path / "no" / "out")]) == Exit.USAGE
    assert batch.main([str(table), "-o", str(table)]) == Exit.USAGE

    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert all(line.startswith("pinclip: ") for line in told)
    assert table.read_text() == "url\n"


def test_batch_leaves_a_row_that_no_system_can_open_and_goes_on(
    scripted: Origin, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "\udcff.png").write_bytes(b"")
    table = tmp_path / "in.txt"
    table.write_bytes(b"a\0b.png\n\xff.png\nhttps://example.org/\xff.png\n" + GOOD.encode())
    scripted.will(ok(scan()))

    assert batch.main([str(table), "-o", str(out)]) == Exit.PARTIAL

    codes = {row: line.get("error", {}).get("code") for row, line in lines(out).items()}
    assert codes.pop(GOOD) is None
    assert set(codes.values()) == {"input_invalid"}
    assert len(codes) == 3


def test_batch_refuses_to_write_over_in(write: Write) -> None:
    table = write(GOOD, "in.txt")

    assert batch.main([str(table), "-o", str(table)]) == Exit.USAGE

    assert table.read_text() == GOOD


def test_batch_tells_a_first_line_that_is_no_csv(
    write: Write, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write('"url' + "a" * 200_000)

    assert batch.main([str(table), "-o", str(out)]) == Exit.USAGE

    assert "not CSV" in capsys.readouterr().err
