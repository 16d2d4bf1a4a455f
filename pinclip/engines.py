"""Which engine runs the model, in which number format, and why.

    weights + what was asked for --start--> Tower, reason

    auto engine     torch        where it is installed and a CUDA GPU is there
                    openvino     else
    auto precision  bfloat16     on CPUs with a matrix unit (AMX), on GPUs that have it
                    int8         on CPUs with VNNI, if the weights have ranges for it (openvino)
                    float32      else

What was asked for is used or refused, never replaced. torch is imported for the engine torch, and
to look for a GPU where the driver's device file is. Knows nothing of images or of what the outputs
mean.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .weights import Weights

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""Names in /proc/cpuinfo of instructions that multiply 8-bit numbers."""


class EngineError(Exception):
    """The engine or number format asked for cannot run here; the text says what can."""


class Tower(Protocol):
    """An engine with the model in it."""

    engine: str
    precision: str
    device: str

    def forward_both(
        self, batch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B, 3, 224, 224) -> outputs (B, K), and the features (B, D) that the head read."""
        ...


def start(weights: Weights, *, engine: str, precision: str) -> tuple[Tower, str]:
    """Return the model, ready to run, and why on this engine and in this number format.

    Raises EngineError for what is not in ENGINES or PRECISIONS, or cannot run here.
    """
    _check_choice("engine", engine, ENGINES)
    _check_choice("precision", precision, PRECISIONS)
    engine, why_engine = _pick_engine(engine)
    build = _torch_tower if engine == "torch" else _openvino_tower
    tower, why_precision = build(weights, precision)
    return tower, f"{why_engine}; {why_precision}"


class Able(NamedTuple):
    """What runs here besides float32, and whether in hardware made for it."""

    bfloat16: bool
    is_bfloat16_fast: bool
    int8: bool = False
    is_int8_fast: bool = False


def pick_precision(asked: str, able: Able) -> tuple[str, str]:
    """Return the number format and why. Raises EngineError for one that does not run here."""
    if asked == "bfloat16" and not able.bfloat16:
        raise EngineError(
            "precision is bfloat16, which this processor does not have: set it to float32 or auto."
        )
    if asked == "int8" and not able.int8:
        raise EngineError(
            "precision is int8, which takes the engine openvino and weights with ranges for it "
            "(int8 in meta.json): set it to float32 or auto."
        )
    if asked != "auto":
        return asked, f"{asked}: as set"
    if able.bfloat16 and able.is_bfloat16_fast:
        return "bfloat16", "bfloat16: this processor multiplies matrices in it"
    if able.int8 and able.is_int8_fast:
        return "int8", "int8: this processor has VNNI but no AMX, and the weights have ranges"
    if able.is_int8_fast:
        return "float32", "float32: no matrix unit for bfloat16 (AMX), no ranges for int8 (VNNI)"
    return "float32", "float32: nothing here is fast in fewer bits (AMX, VNNI, a GPU of today)"


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EngineError(f"{what} is {value!r}: set it to one of {', '.join(allowed)}.")


def _pick_engine(asked: str) -> tuple[str, str]:
    """Return the engine and why; torch is imported only where a GPU device file exists."""
    if asked == "torch" and not _is_installed("torch", "open_clip"):
        raise EngineError("engine is torch, which is not installed: pip install 'pinclip[torch]'")
    if asked != "auto":
        return asked, f"{asked}: as set"
    if Path("/dev/nvidiactl").exists() and _is_installed("torch", "open_clip") and _has_cuda():
        return "torch", "torch: a CUDA GPU is there"
    return "openvino", "openvino: no CUDA GPU with torch"


def _openvino_tower(weights: Weights, asked: str) -> tuple[Tower, str]:
    if not _is_installed("openvino"):
        raise EngineError(
            "engine is openvino, which is not installed: pip install 'pinclip[worker]'"
        )
    from .graph import OpenVinoTower, has_bfloat16

    flags = _cpu_flags()
    able = Able(
        bfloat16=has_bfloat16(),
        is_bfloat16_fast="amx_bf16" in flags,
        int8=weights.int8 is not None,
        is_int8_fast=bool(flags & VNNI),
    )
    precision, why = pick_precision(asked, able)
    base = weights.base(int8=weights.int8 if precision == "int8" else None)
    return OpenVinoTower(base, weights.meta.blocks, weights.head(), precision=precision), why


def _torch_tower(weights: Weights, asked: str) -> tuple[Tower, str]:
    from .tower import TorchTower, has_bfloat16

    device = "cuda" if _has_cuda() else "cpu"
    is_fast = device == "cuda" or "amx_bf16" in _cpu_flags()
    able = Able(bfloat16=has_bfloat16(device), is_bfloat16_fast=is_fast)
    precision, why = pick_precision(asked, able)
    compiler = "inductor" if device == "cuda" else None  # on CPUs it gains a tenth of the time
    blocks, head = weights.meta.blocks, weights.head()
    tower = TorchTower(
        weights.base(), blocks, head, precision=precision, device=device, compiler=compiler
    )
    if tower.why_not_compiled is not None:
        why += f"; not compiled, so slower: {tower.why_not_compiled}"
    return tower, why


def _is_installed(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _cpu_flags() -> frozenset[str]:
    """Return what /proc/cpuinfo says that the first processor can; nothing without that file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    flags = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(flags, "").partition(":")[2].split())
