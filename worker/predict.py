"""`pinclip predict`: scores files on this machine, with what a worker uses and without Redis.

    paths --find--> files, in order --read, decode, prepare--> items --forward--> judge --> lines
                                    (a pool, up to two batches ahead) (one thread) (confirm.py)

stdout has a line for each file, in the order of the paths: a table, or JSON objects (--json).
A file that cannot be scored has an `error` and makes the exit status 7; the others are still
scored. The detector is reached by name, as in a worker, so torch is loaded only where it is the
engine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sdk.codes import SCAN_ERRORS, ScanErrorCode
from sdk.environment import SettingsError, load
from sdk.wire import Declaration, OperatingPoint, PointName, Reason, Verdict

from . import declarations, engine, log
from .confirm import Confirmer, Subject
from .decoding import DecodePool
from .engine import DetectorUnusable, Engine
from .intake import Prepared, Preparer
from .ports import Reading, Refusal
from .settings import WorkerSettings
from .supervisor import SETTINGS_STATUS
from .verdicts import Judgement

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".heic", ".heif"}
)
"""What is looked at in a folder. A file that is named itself is always tried."""
PARTLY = 7
"""Exit status when something could not be scored."""
PATH_COLUMNS = 60
"""Longest path that the table shows whole."""


class PathError(Struct, frozen=True):
    """Why a path has no score, and what to do about it."""

    code: str
    detail: str
    hint: str


class Line(Struct, frozen=True, kw_only=True):
    """What is printed of one path."""

    path: str
    score: float | None = None
    probability: float | None = None
    verdict: Verdict | None = None
    warnings: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    operating_point: OperatingPoint | None = None
    declaration: Declaration | None = None
    error: PathError | UnsetType = UNSET


class Item(Struct, frozen=True, kw_only=True):
    """A path on its way: prepared, or with what went wrong. A pipe gives its bytes only once."""

    path: str
    data: bytes = b""
    prepared: Prepared | None = None
    error: PathError | None = None


def main(argv: Sequence[str]) -> int:
    """Every path is scored or has its error on stdout; returns the exit status."""
    args = _parser().parse_args(argv)
    log.setup("warning", "predict")
    try:
        with Predictor.open(load(WorkerSettings)) as predictor:
            items = list(find(args.paths))
            lines = predictor.predict(items, point=PointName(args.operating_point))
            return _print(lines, items, as_json=args.json)
    except (SettingsError, DetectorUnusable) as error:
        for sentence in str(error).splitlines():
            sys.stderr.write(f"pinclip predict: {sentence}\n")
        return SETTINGS_STATUS


def find(paths: Iterable[str]) -> Iterator[Item]:
    """Yield an item for each path, and for each image below a folder, sorted."""
    for path in paths:
        if not os.path.isdir(path):
            yield Item(path=path)
            continue
        found = sorted(
            os.path.join(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if Path(name).suffix.lower() in SUFFIXES
        )
        yield from (Item(path=each) for each in found)
        if not found:
            yield Item(path=path, error=_no_images(path))


class Predictor:
    """Scores files in order. While one batch is in the model, the next are read and decoded."""

    def __init__(self, preparer: Preparer, engine: Engine, pool: ThreadPoolExecutor) -> None:
        self._preparer = preparer
        self._engine = engine
        self._pool = pool
        self._confirmer = Confirmer(preparer, engine, pool)

    @classmethod
    @contextmanager
    def open(cls, settings: WorkerSettings) -> Iterator[Predictor]:
        """Load the detector, and end its threads and processes at the end.

        Raises DetectorUnusable.
        """
        detector = engine.load(settings)
        with ExitStack() as stack:
            decoder = stack.enter_context(DecodePool(processes=settings.decode_processes))
            scoring = Engine(detector, batch_limit=settings.batch_limit)
            stack.callback(scoring.close)
            preparer = Preparer(
                decoder=decoder, detector=detector, read_declaration=declarations.read
            )
            pool = ThreadPoolExecutor(settings.decode_processes + 1)
            stack.callback(pool.shutdown, cancel_futures=True)
            yield cls(preparer, scoring, pool)

    def predict(self, items: Iterable[Item], *, point: PointName) -> Iterator[Line]:
        """Yield a line for each item, in order."""
        in_model: deque[tuple[list[Item], Future[list[Reading | Exception]]]] = deque()
        for batch in self._batches(items):
            arrays = [array for item in batch if item.prepared for array in item.prepared.arrays]
            in_model.append((batch, self._engine.score(arrays)))
            if len(in_model) > 1:
                yield from self._lines(*in_model.popleft(), point)
        while in_model:
            yield from self._lines(*in_model.popleft(), point)

    def _batches(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        batch: list[Item] = []
        room = self._engine.batch_limit
        for item in self._prepared(items):
            size = len(item.prepared.arrays) if item.prepared else 1
            if batch and size > room:
                yield batch
                batch, room = [], self._engine.batch_limit
            batch.append(item)
            room -= size
        if batch:
            yield batch

    def _prepared(self, items: Iterable[Item]) -> Iterator[Item]:
        """Prepare in the pool, up to two batches ahead: a folder may hold any number of files."""
        ahead: deque[Future[Item]] = deque()
        for item in items:
            ahead.append(self._pool.submit(self._prepare, item))
            if len(ahead) > 2 * self._engine.batch_limit:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _prepare(self, item: Item) -> Item:
        if item.error is not None:
            return item
        try:
            data = Path(item.path).read_bytes()
            prepared = self._preparer.prepare(data)
        except Exception as error:  # One file's trouble is that file's.
            return Item(path=item.path, error=path_error(error))
        return Item(path=item.path, data=data, prepared=prepared)

    def _lines(
        self, batch: list[Item], scored: Future[list[Reading | Exception]], point: PointName
    ) -> Iterator[Line]:
        subjects = [_subject(item, item.prepared) for item in batch if item.prepared]
        judged = iter(self._confirmer.judge(subjects, scored.result(), point=point))
        for item in batch:
            if item.prepared is None:
                yield Line(path=item.path, error=item.error or UNSET)
            else:
                yield _line(item.path, next(judged), item.prepared.declaration)


def _subject(item: Item, prepared: Prepared) -> Subject:
    return Subject(
        name=item.path,
        frames=len(prepared.arrays),
        facts=prepared.facts,
        declaration=prepared.declaration,
        data=lambda: item.data,
    )


def _line(path: str, judged: Judgement | Exception, declaration: Declaration | None) -> Line:
    if isinstance(judged, Exception):
        return Line(path=path, error=path_error(judged))
    return Line(path=path, declaration=declaration, **msgspec.structs.asdict(judged))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip predict",
        description="Score image files on this machine, without a server.",
        epilog="exit status: 0 every file was scored, 2 misuse, 3 the settings or the detector "
        "cannot work, 7 some path could not be scored",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="an image, or a folder: every image below it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        choices=[name.value for name in PointName],
        default=PointName.BALANCED.value,
        help="how many real images may be flagged: strict, balanced (default) or sensitive",
    )
    return parser


def _print(lines: Iterable[Line], items: Sequence[Item], *, as_json: bool) -> int:
    """Print each line as it comes, with progress beside it; return the exit status."""
    width = min(max(len(item.path) for item in items), PATH_COLUMNS)
    status = 0
    notes: dict[str, None] = {}
    with _progress(len(items)) as write:
        if not as_json:
            write(_row(width, "path", "verdict", "score", "probability", "warnings"))
        for line in lines:
            status = PARTLY if line.error else status
            write(msgspec.json.encode(line).decode() if as_json else _told(line, width))
            notes.update(dict.fromkeys(_notes(line)))
        if notes and not as_json:
            write("\n" + "\n".join(notes))
    return status


def _notes(line: Line) -> Iterator[str]:
    """What the verdict of this line means, in words that other lines share."""
    for reason in line.reasons:
        if reason.code != "small_image":  # It tells the size of one image.
            yield f"{line.verdict}: {reason.text}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes a line to stdout, below it a bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: print(text, flush=True)  # noqa: T201 - what the command is for
        return
    from tqdm import tqdm

    with tqdm(total=total, file=sys.stderr, unit="image", leave=False) as bar:

        def write(text: str) -> None:
            bar.write(text, file=sys.stdout)
            bar.update()

        yield write


def _told(line: Line, width: int) -> str:
    if isinstance(line.error, PathError):
        said = f"{line.error.detail.rstrip('.')}. {line.error.hint}"
        return _row(width, line.path, line.error.code, "-", "-", said)
    return _row(
        width,
        line.path,
        str(line.verdict),
        _number(line.score),
        _number(line.probability),
        ", ".join(line.warnings),
    )


def _row(width: int, path: str, verdict: str, score: str, probability: str, rest: str) -> str:
    shown = path if len(path) <= width else f"...{path[3 - width :]}"
    return f"{shown:<{width}}  {verdict:<14} {score:>6} {probability:>12}  {rest}".rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def path_error(error: Exception) -> PathError:
    """Return what a person is told of an image that could not be scored."""
    if isinstance(error, Refusal):
        return PathError(error.code.value, error.detail, SCAN_ERRORS[error.code].hint)
    if isinstance(error, FileNotFoundError):
        return PathError("path_not_found", "There is nothing at this path.", "Check the path.")
    if isinstance(error, OSError):
        detail = f"The file cannot be read: {error.strerror}."
        return PathError("path_unreadable", detail, "Check the file and its permissions.")
    return PathError(
        ScanErrorCode.SCORING_FAILED.value,
        f"The model failed on this image: {error}",
        SCAN_ERRORS[ScanErrorCode.SCORING_FAILED].hint,
    )


def _no_images(path: str) -> PathError:
    return PathError(
        "no_images",
        f"There is no image below {path}.",
        f"Name the file itself if it has another suffix than {', '.join(sorted(SUFFIXES))}.",
    )
