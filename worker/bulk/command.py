"""`pinclip bulk IN -o OUT`: scores many images through Ray Data, and goes on where it was stopped.

    IN --listing--> rows --those that OUT lacks--> Ray Data (cluster.py) --> OUT --> exit status

stdout stays empty: the results are OUT. Imports Ray and Arrow only once the arguments are read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from sdk.environment import SettingsError, load
from sdk.wire import PointName
from worker import log
from worker.clock import SystemClock
from worker.engine import DetectorUnusable
from worker.predict import PARTLY
from worker.settings import WorkerSettings
from worker.supervisor import SETTINGS_STATUS

if TYPE_CHECKING:
    import pyarrow as pa

    from worker.ports import Clock

    from .results import Results

MISUSE = 2
"""Exit status for an IN or OUT that cannot be worked with."""


class BulkSettings(Struct, frozen=True, kw_only=True):
    """What a worker is told, and where Ray is."""

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    address: Annotated[str, Meta(extra={"env": "RAY_ADDRESS"})] = ""
    """A running Ray cluster, as host:port or `auto`; empty starts Ray on this machine."""


class Summary(Struct, frozen=True, kw_only=True):
    """What stands in OUT at the end, and what this run did for it."""

    inputs: int
    completed: int
    failed: int
    scored: int
    """Rows that this run added."""
    start_seconds: float
    """Until Ray was there and had found the weights."""
    score_seconds: float
    """From then on; actors start within it, and one a device loads the model."""

    def __str__(self) -> str:
        return (
            f"{self.completed} completed and {self.failed} failed of {self.inputs}; this run did "
            f"{self.scored} in {self.score_seconds:.0f} s, after Ray's {self.start_seconds:.0f} s"
        )


def main(argv: Sequence[str]) -> int:
    """OUT has a row for each input; returns the exit status."""
    args = _parser().parse_args(argv)
    log.setup("warning", "bulk")
    from .inputs import InputsUnusable
    from .results import ResultsMissing, ResultsUnusable

    try:
        settings = load(BulkSettings)
        summary = run(args.inputs, Path(args.out), settings, point=PointName(args.operating_point))
    except (InputsUnusable, ResultsUnusable) as error:
        return _refuse(error, MISUSE)
    except (SettingsError, DetectorUnusable) as error:
        return _refuse(error, SETTINGS_STATUS)
    except ResultsMissing as error:
        _refuse(error, PARTLY)
        return _refuse(f"Run the same command again: {args.out} keeps what is done.", PARTLY)
    sys.stderr.write(f"pinclip bulk: {summary}\n")
    return PARTLY if summary.failed else 0


def run(
    names: Sequence[str],
    out: Path,
    settings: BulkSettings,
    *,
    point: PointName = PointName.BALANCED,
    clock: Clock | None = None,
) -> Summary:
    """Score what OUT lacks of IN, and return what stands in OUT then.

    Raises InputsUnusable, ResultsUnusable, DetectorUnusable, ResultsMissing; what was scored
    before stands in OUT.
    """
    from .inputs import digest, listed
    from .results import Question, Results

    clock = clock or SystemClock()
    listing = listed(names)
    question = Question(inputs=len(listing), inputs_sha256=digest(listing), operating_point=point)
    with Results.open(out, clock) as results:
        results.check(question)
        before = results.done(len(listing))
        from . import cluster  # seconds, which a misspelt IN need not wait for

        began = clock.monotonic()
        with cluster.running(settings.address):
            model = cluster.describe(settings.worker)
            ready = clock.monotonic()
            results.ask(replace(question, model=model))
            _score(listing, results, settings.worker, point)
        done = results.done(len(listing))
        return Summary(
            inputs=len(listing),
            completed=done.completed,
            failed=done.failed,
            scored=int(done.rows.sum() - before.rows.sum()),
            start_seconds=ready - began,
            score_seconds=clock.monotonic() - ready,
        )


def _score(listing: pa.Table, results: Results, settings: WorkerSettings, point: PointName) -> None:
    """Score until OUT lacks nothing. A pass may miss rows where a process died under it."""
    from tqdm import tqdm

    from .cluster import results as scored
    from .results import ResultsMissing

    done = results.done(len(listing)).rows
    with tqdm(
        total=len(listing),
        initial=int(done.sum()),
        unit="image",
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        leave=False,
    ) as bar:
        while not done.all():
            before = int(done.sum())
            trouble = "Ray ended without them."
            try:
                for rows in scored(listing.filter(~done), settings, point=point):
                    done[rows["row"].to_numpy()] = True
                    results.write(rows)
                    bar.update(len(rows))
            except ResultsMissing as error:
                trouble = str(error)
            if int(done.sum()) == before:  # Another pass would fare no better.
                raise ResultsMissing(f"{int((~done).sum())} inputs have no result. {trouble}")
    results.flush()


def _refuse(reason: object, status: int) -> int:
    for sentence in str(reason).splitlines():
        sys.stderr.write(f"pinclip bulk: {sentence}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip bulk",
        description="Score many images through Ray Data; run it again and it goes on where it was.",
        epilog="RAY_ADDRESS names a running Ray cluster (host:port, or auto); without it, this "
        "machine alone works. exit status: 0 every input was scored, 2 IN or OUT cannot be used, "
        "3 the settings, the detector or an extra are missing, 7 some input could not be scored",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="a folder of images, a .csv or .parquet with a column url or path, or shards: .tar, "
        "several, 'a-{00..99}.tar' or 'a-*.tar'",
    )
    parser.add_argument(
        "-o", "--out", required=True, metavar="OUT", help="the folder that takes the results"
    )
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        choices=[name.value for name in PointName],
        default=PointName.BALANCED.value,
        help="how many real images may be flagged: strict, balanced (default) or sensitive",
    )
    return parser
