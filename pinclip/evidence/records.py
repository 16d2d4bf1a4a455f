"""What an ablation has run, one JSON line a run, so that a broken-off one goes on.

    FOLDER/plan.json     what all runs share: stage, protocol, data, base recipe
    FOLDER/runs.jsonl    Run, one line each, appended in one write

A run with a `trial` chose a setting: it says nothing of test sources. Knows no model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

FORMAT = 1
PLAN, RUNS = "plan.json", "runs.jsonl"

Key = tuple[str, str, int, int | None]


class RecordsError(Exception):
    """A folder of runs that cannot be gone on with; the text says why."""


class Plan(Struct, frozen=True, kw_only=True):
    """What every run of a folder has in common."""

    stage: Literal["frozen", "tuned"]
    protocol: Literal["groups", "families", "planted"]
    data: str
    base: str
    trials: int
    blocks: tuple[int, ...] = ()
    """Blocks that tuned arms tune; none where the stage is frozen."""
    detail: str = ""
    format: int = FORMAT


class Outcome(Struct, frozen=True, kw_only=True):
    """One way of using a trained arm on the left-out sources; a rate for each by name.

    `validation` is M on validation sources at `threshold`, a logit that was chosen there. `real`
    is specificity, `fake` recall; `areas` AUC, `recall_5` and `recall_1` recall where 5 % and 1 %
    of the real images are flagged, by fake source.
    """

    mode: str
    validation: float
    threshold: float
    fake: dict[str, float]
    real: dict[str, float]
    areas: dict[str, float]
    recall_5: dict[str, float]
    recall_1: dict[str, float]
    ece: float


class Run(Struct, frozen=True, kw_only=True):
    """One fit. `energy`: mean of (tr Sigma + |mu|^2) / d on training images, None without noise.

    A trial has no outcomes: only `validation`, M on validation sources in the arm's first mode.
    """

    split: str
    arm: str
    seed: int
    trial: int | None = None
    setting: dict[str, float]
    recipe: str
    validation: float
    energy: float | None
    seconds: float
    outcomes: tuple[Outcome, ...] = ()

    @property
    def key(self) -> Key:
        """What there is one run of."""
        return self.split, self.arm, self.seed, self.trial


class Store:
    """The runs of one folder. Several processes may add to it; each knows those of its start."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Open or make the folder; raises RecordsError where it holds runs of another plan."""
        self._path = folder / RUNS
        folder.mkdir(parents=True, exist_ok=True)
        self.plan = _agreed(folder / PLAN, plan)
        _mend(self._path)
        self._runs = {run.key: run for run in _read(self._path)}

    def get(self, key: Key) -> Run | None:
        """Return the run with this key, None if it has not been made."""
        return self._runs.get(key)

    def add(self, run: Run) -> None:
        """Keep a run: one line in one write, so that a broken-off write loses that line alone."""
        self._runs[run.key] = run
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, msgspec.json.encode(run) + b"\n")
        finally:
            os.close(handle)

    def tests(self) -> list[Run]:
        """Return the runs that were measured on left-out sources, all of this folder's."""
        found = {run.key: run for run in _read(self._path) if run.trial is None}
        return list(found.values())


def _agreed(path: Path, plan: Plan) -> Plan:
    if not path.exists():
        path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")
        return plan
    try:
        there = msgspec.json.decode(path.read_bytes(), type=Plan)
    except msgspec.MsgspecError as error:
        raise RecordsError(f"{path} is no plan of an ablation ({error}): choose another.") from None
    if there != plan:
        fields = plan.__struct_fields__
        differing = [name for name in fields if getattr(there, name) != getattr(plan, name)]
        raise RecordsError(
            f"{path.parent} holds runs of another plan ({', '.join(differing)} differ): go on with "
            "the same data, recipe and options, or choose another folder."
        )
    return there


def _read(path: Path) -> list[Run]:
    """Return the runs of a file; raises RecordsError for a line that is none."""
    if not path.exists():
        return []
    runs = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            runs.append(msgspec.json.decode(line, type=Run))
        except msgspec.MsgspecError as error:
            raise RecordsError(
                f"{path}:{number} is no run ({error}): remove that line and start again."
            ) from None
    return runs


def _mend(path: Path) -> None:
    """Cut off what follows the last whole line: a process that ended while it wrote."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
