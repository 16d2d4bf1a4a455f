"""`pinclip predict`, on real files through the real decoding processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog

from sdk.environment import inherited
from sdk.wire import PointName, Verdict
from worker.engine import Engine
from worker.intake import Preparer
from worker.ports import Decoded
from worker.predict import Predictor, find
from worker.testing import FixedDetector, InProcessDecoder

Draw = Callable[..., bytes]
ROOT = Path(__file__).parent.parent.parent
RUN = "import sys; from worker.predict import main; sys.exit(main(sys.argv[1:]))"


def _predict(
    *argv: str | Path, detector: str = "worker.testing:load_fixed", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, argv)],
        env=inherited(PINCLIP_DETECTOR=detector, **environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


class FirstIsBroken:
    """Decodes everything, except the first image when it comes again."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def decode(self, data: bytes) -> Decoded:
        if self.seen and data == self.seen[0]:
            raise RuntimeError("a bug that shows the second time")
        self.seen.append(data)
        return InProcessDecoder().decode(data)


@pytest.fixture
def folder(tmp_path: Path, picture: Draw) -> Path:
    """b/white.png, a/black.jpg, a/grey.webp, and files that are no images by their names."""
    for name, grey, kind in (
        ("b/white.png", 255, "PNG"),
        ("a/black.jpg", 0, "JPEG"),
        ("a/grey.webp", 128, "WEBP"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(grey, kind=kind))
    (tmp_path / "a" / "notes.txt").write_text("not looked at")
    return tmp_path


def test_predict_prints_one_json_object_a_line(folder: Path) -> None:
    done = _predict("--json", folder / "b" / "white.png")

    assert done.returncode == 0
    (line,) = _lines(done)
    assert line["path"] == str(folder / "b" / "white.png")
    assert (line["score"], line["probability"], line["verdict"]) == (1.0, 1.0, "likely_ai")
    assert (line["warnings"], line["declaration"]) == ([], None)
    point = line["operating_point"]
    assert isinstance(point, dict)
    assert (point["name"], point["expected_false_alarm_rate"]) == ("balanced", 0.03)
    assert "error" not in line


def test_predict_keeps_the_order_of_the_paths_and_sorts_folders(folder: Path) -> None:
    done = _predict("--json", folder / "b" / "white.png", folder)

    names = [Path(str(line["path"])).name for line in _lines(done)]
    assert names == ["white.png", "black.jpg", "grey.webp", "white.png"]


def test_predict_keeps_the_order_over_many_batches(tmp_path: Path, picture: Draw) -> None:
    for index in range(20):
        (tmp_path / f"{index:02}.png").write_bytes(picture(index * 12))

    done = _predict("--json", tmp_path, PINCLIP_BATCH_LIMIT="3")

    scores = [line["score"] for line in _lines(done)]
    assert scores == pytest.approx([index * 12 / 255 for index in range(20)], abs=1e-3)


def test_predict_scores_the_others_when_some_cannot_be_read(folder: Path) -> None:
    broken = folder / "broken.png"
    broken.write_bytes(b"<html>")

    done = _predict("--json", folder / "gone.png", broken, folder / "b" / "white.png")

    assert done.returncode == 7
    gone, bad, good = _lines(done)
    assert isinstance(gone["error"], dict)
    assert isinstance(bad["error"], dict)
    assert (gone["error"]["code"], gone["score"]) == ("path_not_found", None)
    assert (bad["error"]["code"], bad["verdict"]) == ("not_an_image", None)
    assert bad["error"]["hint"]
    assert good["verdict"] == "likely_ai"


def test_predict_tries_a_named_file_whatever_its_suffix(folder: Path) -> None:
    done = _predict("--json", folder / "a" / "notes.txt")

    (line,) = _lines(done)
    assert isinstance(line["error"], dict)
    assert line["error"]["code"] == "not_an_image"


def test_predict_says_when_a_folder_has_no_image(tmp_path: Path) -> None:
    done = _predict("--json", tmp_path)

    assert done.returncode == 7
    (line,) = _lines(done)
    assert isinstance(line["error"], dict)
    assert line["error"]["code"] == "no_images"


@pytest.mark.parametrize(
    ("point", "verdict"), [("strict", "inconclusive"), ("sensitive", "likely_ai")]
)
def test_predict_judges_by_the_point_that_was_named(
    tmp_path: Path, picture: Draw, point: str, verdict: str
) -> None:
    (tmp_path / "a.png").write_bytes(picture(215))

    (line,) = _lines(_predict("--json", "--operating-point", point, tmp_path))

    assert line["verdict"] == verdict


def test_predict_calls_nothing_likely_ai_that_scores_low_re_encoded(
    tmp_path: Path, picture: Draw, flimsy: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture(255))
    (tmp_path / "b.png").write_bytes(flimsy)
    (tmp_path / "c.png").write_bytes(picture(0))
    (tmp_path / "d.png").write_bytes(picture(254))

    lines = _lines(_predict("--json", tmp_path, tmp_path / "b.png", PINCLIP_BATCH_LIMIT="3"))

    assert [line["verdict"] for line in lines] == [
        "likely_ai",
        "inconclusive",
        "no_sign_of_ai",
        "likely_ai",
        "inconclusive",
    ]
    assert [line["warnings"] for line in lines] == [
        [],
        ["verdict_unstable"],
        [],
        [],
        ["verdict_unstable"],
    ]


def test_predict_confirms_a_score_of_what_can_be_read_only_once(picture: Draw) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pipe:
        assert pipe.stdin is not None
        pipe.stdin.write(picture(255))
        pipe.stdin.close()
        done = subprocess.run(
            [sys.executable, "-c", RUN, "--json", "/dev/stdin"],
            env=inherited(PINCLIP_DETECTOR="worker.testing:load_fixed"),
            cwd=ROOT,
            stdin=pipe.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert [line["verdict"] for line in _lines(done)] == ["likely_ai"]


def test_predict_accuses_nobody_when_the_score_cannot_be_asked_for_again(
    tmp_path: Path, picture: Draw
) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for grey, path in zip((255, 254), paths, strict=True):
        path.write_bytes(picture(grey))
    detector = FixedDetector()
    preparer = Preparer(decoder=FirstIsBroken(), detector=detector, read_declaration=lambda _: None)
    engine = Engine(detector, batch_limit=8)

    with ThreadPoolExecutor(1) as pool, structlog.testing.capture_logs() as logs:
        items = find([str(path) for path in paths])
        first, second = Predictor(preparer, engine, pool).predict(items, point=PointName.BALANCED)
    engine.close()

    assert (first.verdict, first.warnings) == (Verdict.INCONCLUSIVE, ("verdict_unstable",))
    assert (second.verdict, second.warnings) == (Verdict.LIKELY_AI, ())
    (line,) = logs
    assert (line["event"], line["input"]) == ("score_unconfirmed", str(paths[0]))


def test_predict_prints_a_table_for_people(folder: Path) -> None:
    broken = folder / "z.png"
    broken.write_bytes(b"<html>")

    done = _predict(folder)

    rows = done.stdout.splitlines()
    assert rows[0].split() == ["path", "verdict", "score", "probability", "warnings"]
    assert rows[1].split()[1:] == ["no_sign_of_ai", "0.000", "0.000"]
    assert rows[3].split()[1:] == ["likely_ai", "1.000", "1.000"]
    assert rows[4].split()[1:4] == ["not_an_image", "-", "-"]
    assert "likely_ai: Scores this high were given to about 3 in 100 real photos" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "argv", [[], ["--operating-point", "lenient", "a.png"], ["--nonsense", "a.png"]]
)
def test_predict_returns_2_for_misuse(argv: Sequence[str]) -> None:
    assert _predict(*argv).returncode == 2


def test_predict_returns_3_when_the_detector_does_not_load(folder: Path) -> None:
    done = _predict(folder, detector="no_such_room:load")

    assert (done.returncode, done.stdout) == (3, "")
    assert "no_such_room" in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_returns_3_for_settings_that_cannot_work(folder: Path) -> None:
    done = _predict(folder, PINCLIP_BATCH_LIMIT="0", PINCLIP_ENGINE="abacus")

    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 2


def test_predict_shows_progress_on_a_terminal_only(folder: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--json", str(folder)],
        env=inherited(PINCLIP_DETECTOR="worker.testing:load_fixed", TERM="xterm"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)

    assert "0/3" in shown
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()]


def test_predict_loads_no_torch_itself() -> None:
    code = "import worker.predict, sys; print('torch' in sys.modules, 'redis' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "False"]


def test_find_goes_into_folders_of_folders(tmp_path: Path) -> None:
    deep = tmp_path / "b" / "c" / "d"
    deep.mkdir(parents=True)
    for path in (deep / "x.PNG", tmp_path / "a.jpg", tmp_path / "b" / "n.txt"):
        path.touch()

    found = [item.path for item in find([str(tmp_path)])]

    assert found == [str(tmp_path / "a.jpg"), str(deep / "x.PNG")]
