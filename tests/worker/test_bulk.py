"""`pinclip bulk` on real Ray: a cluster that several runs share, and one that a run starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("ray")

import pyarrow.dataset as pds  # noqa: E402 - after the skip

from sdk.environment import inherited  # noqa: E402
from tests.worker.origins import Origin, response  # noqa: E402

Draw = Callable[..., bytes]
ROOT = Path(__file__).parent.parent.parent
RUN = """
import sys
from worker.bulk import results
from worker.bulk.command import main
results.PART_SECONDS = 0.0
sys.exit(main(sys.argv[1:]))
"""
CLUSTER = """
import ray
ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=1 << 28)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""
COUNTING = "tests.worker.counting_detector:load"
FIXED = "worker.testing:load_fixed"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _environment(**overrides: str) -> dict[str, str]:
    # Ray's processes give way to others (nice 15), which beside other tests is a standstill.
    common = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 64, "RAY_worker_niceness": "0"}
    return inherited(PYTHONPATH=str(ROOT), **common, **overrides)


def _start(*argv: str | Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, argv)],
        env=_environment(**environ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*argv: str | Path, **environ: str) -> tuple[int, str, str]:
    """Return the exit status, stdout and stderr."""
    with _start(*argv, **environ) as bulk:
        out, err = bulk.communicate(timeout=240)
    return bulk.returncode, out, err


def _rows(out: Path) -> list[dict[str, object]]:
    table = pds.dataset(out, format="parquet").to_table()
    return table.sort_by("row").to_pylist()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the detector of the cluster writes down what it scores."""
    path = tmp_path_factory.mktemp("counted") / "scores"
    path.touch()
    return path


@pytest.fixture(scope="module")
def address(counted: Path) -> Iterator[str]:
    """A Ray cluster of one machine that runs come to and leave."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=_environment(COUNTED=str(counted)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        yield cluster.stdout.readline().strip()
        cluster.communicate("\n", timeout=60)


def test_bulk_goes_on_where_it_was_killed_and_refuses_another_model(
    address: str, counted: Path, tmp_path: Path, picture: Draw
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for index in range(120):  # None is as bright as the picture that warms the model up, nor white.
        (images / f"{index:03}.png").write_bytes(picture(index, size=(240, 240)))
    common = {"PINCLIP_DETECTOR": COUNTING, "RAY_ADDRESS": address}

    with _start(images, "-o", out, **common) as bulk:
        while not list(out.glob("part-*.parquet")) and bulk.poll() is None:
            Event().wait(0.02)
        bulk.kill()
        _, stderr = bulk.communicate()
    assert bulk.returncode == -signal.SIGKILL, stderr
    kept = {str(row["input"]) for row in _rows(out)}
    assert 0 < len(kept) < 120
    status, stdout, stderr = _run(images, "-o", out, **common)

    assert (status, stdout) == (0, ""), stderr
    rows = _rows(out)
    assert [row["input"] for row in rows] == [f"{index:03}.png" for index in range(120)]
    assert {row["model"] for row in rows} == {"counting"}
    scores = counted.read_text().split()
    again = {name for name in kept if scores.count(str(int(name[:3]))) != 1}
    assert not again, "scored again although it stood in OUT"

    status, stdout, stderr = _run(images, "-o", out, RAY_ADDRESS=address, PINCLIP_DETECTOR=FIXED)

    assert (status, stdout) == (2, "")
    assert "another model (counting" in stderr
    assert _rows(out) == rows


def test_bulk_scores_urls_on_a_ray_of_its_own(tmp_path: Path, picture: Draw) -> None:
    origin = Origin({"/white.png": [response(picture(255))]})
    table, out = tmp_path / "urls.csv", tmp_path / "out"
    urls = [origin.url("/white.png"), origin.url("/gone.png"), "http://10.0.0.1/a.png", ""]
    table.write_text("\n".join(["url,id", *(f"{url},1" for url in urls)]) + "\n")

    try:
        status, stdout, stderr = _run(
            table,
            "-o",
            out,
            PINCLIP_DETECTOR=FIXED,
            PINCLIP_FETCH_ALLOW_NETWORKS="127.0.0.0/8",
            PINCLIP_FETCH_ALLOW_PORTS=str(origin.port),
        )
    finally:
        origin.close()

    assert (status, stdout) == (7, ""), stderr
    (line,) = stderr.splitlines()
    assert line.startswith("pinclip bulk: 1 completed and 3 failed of 4")
    rows = _rows(out)
    assert [row["input"] for row in rows] == urls
    assert [row["error_code"] for row in rows] == [
        None,
        "fetch_not_found",
        "fetch_address_blocked",
        "url_invalid",
    ]
    assert rows[0]["verdict"] == "likely_ai"


def test_bulk_says_in_a_line_why_a_detector_does_not_load(tmp_path: Path, picture: Draw) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "white.png").write_bytes(picture(255))
    heavy = "tests.worker.heavy_detector:load"

    status, stdout, stderr = _run(
        tmp_path / "images", "-o", tmp_path / "out", PINCLIP_DETECTOR=heavy
    )

    assert (status, stdout) == (3, "")
    (line,) = stderr.splitlines()
    assert line.startswith(f"pinclip bulk: The detector {heavy} did not load: a batch of 8")


def test_bulk_says_what_it_cannot_use_before_it_starts_ray(tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text("link\nhttp://h.test/\n")

    status, stdout, stderr = _run(tmp_path / "links.csv", "-o", tmp_path / "out")

    assert (status, stdout) == (2, "")
    assert stderr.startswith("pinclip bulk: ")
    assert "has no column 'url' or 'path', only 'link'" in stderr
    assert not (tmp_path / "out").exists()
