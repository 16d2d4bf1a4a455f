"""pinclip.engines: which engine and number format run, and what is said where they cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pinclip import engines
from pinclip.detector import load
from pinclip.engines import Able, EngineError, pick_precision


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"engine": "onnx"}, "'onnx': set it to one of auto, openvino, torch"),
        ({"precision": "int4"}, "'int4': set it to one of auto, float32, bfloat16, int8"),
    ],
    ids=["engine", "precision"],
)
def test_load_lists_what_can_be_asked_for(
    folder: Path, asked: dict[str, str], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        load(weights=folder, **asked)


@pytest.mark.parametrize(
    ("engine", "extra"), [("torch", "pinclip[torch]"), ("openvino", "pinclip[worker]")]
)
def test_load_says_what_to_install_for_an_engine(
    folder: Path, engine: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _name: None)

    with pytest.raises(EngineError, match=re.escape(f"pip install '{extra}'")):
        load(weights=folder, engine=engine)


@pytest.mark.parametrize(
    ("asked", "able", "expected"),
    [
        ("auto", Able(True, True), "bfloat16"),
        ("auto", Able(True, True, True, True), "bfloat16"),
        ("auto", Able(True, False, True, True), "int8"),
        ("auto", Able(True, False, False, True), "float32"),
        ("auto", Able(True, False, True, False), "float32"),
        ("auto", Able(False, True), "float32"),
        ("float32", Able(True, True, True, True), "float32"),
        ("bfloat16", Able(True, False), "bfloat16"),
        ("int8", Able(True, True, True, False), "int8"),
    ],
    ids=[
        "AMX",
        "AMX and VNNI",
        "VNNI",
        "VNNI but weights without ranges",
        "ranges but no VNNI",
        "no bfloat16",
        "float32 as set",
        "bfloat16 as set, though slow",
        "int8 as set, though slow",
    ],
)
def test_precision_follows_the_processor_unless_it_is_set(
    asked: str, able: Able, expected: str
) -> None:
    precision, why = pick_precision(asked, able)

    assert precision == expected
    assert why.startswith(f"{expected}: ")


@pytest.mark.parametrize("asked", ["bfloat16", "int8"])
def test_precision_that_cannot_run_here_is_refused(asked: str) -> None:
    with pytest.raises(EngineError, match=f"precision is {asked}.* set it to float32 or auto"):
        pick_precision(asked, Able(False, False))


@pytest.mark.torch
def test_torch_does_not_run_int8(folder: Path) -> None:
    with pytest.raises(EngineError, match="int8, which takes the engine openvino"):
        load(weights=folder, engine="torch", precision="int8")


def test_load_on_a_cpu_never_imports_torch(folder: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")

    code = (
        "import sys, pathlib, pinclip\n"
        f"detector = pinclip.load(weights=pathlib.Path({str(folder)!r}))\n"
        "print(detector.engine, 'torch' in sys.modules, 'open_clip' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split() == ["openvino", "False", "False"]
