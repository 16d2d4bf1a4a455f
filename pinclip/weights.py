"""What ships: the tower's int8 tensors, the head, and meta.json that says how good they are.

    folder/                     found by name (entry-point group `pinclip.weights`) or by path
      meta.json         Meta    identity, preprocessing, calibration, error rates, licences
      base.safetensors          CLIP ViT-B/16 image tower, int8 per output channel
      head.safetensors          weight (K, D), bias (K): one score logit, then one per slice

`open_weights` returns only what is whole: every tensor's name, shape and type is checked, then
the sha256 of all of them. Knows how the numbers are stored, not how they are computed with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct
from safetensors import SafetensorError, safe_open

from .preprocess import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = "pinclip.weights"
"""Entry-point group in which a weights distribution names its package."""
FORMAT = 1
"""Version of meta.json that this code reads."""
POINTS = ("strict", "balanced", "sensitive")
"""Names of the operating points, from few false alarms to many."""

MODEL = "ViT-B-16-quickgelu"
"""open_clip's name of the one tower that is built here."""
WIDTH, LAYERS, HEADS, PATCH, SIZE, EMBED = 768, 12, 12, 16, 224, 512
TOKENS = (SIZE // PATCH) ** 2 + 1

REMEDY = "Install it again: pip install --force-reinstall pinclip-weights-b16"


class WeightsError(Exception):
    """Weights that cannot be used; `code`: weights_missing, weights_damaged or weights_foreign."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One safetensors file; `sha256` is of its tensors (see `digest`), not of the file."""

    file: str
    sha256: str
    license: str
    origin: str


class Point(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operating point on one slice; thresholds are scores, rates are shares.

    Rates come from thresholds that were set on other folds. All numbers but the counts are None
    where n < 300; those about AI images also where n_ai < 300.
    """

    threshold: float | None
    clear_below: float | None
    false_alarm_rate: float | None
    ci95: tuple[float, float] | None
    n: int
    recall: float | None
    recall_ci95: tuple[float, float] | None
    miss_rate: float | None
    miss_ci95: tuple[float, float] | None
    n_ai: int


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """probability = sigmoid(logit / temperature + bias), were half of all images made by AI."""

    temperature: float
    bias: float
    ece: float


class SliceFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured on the images that the model takes for one kind of picture."""

    n: int
    n_ai: int
    groups: int
    groups_ai: int
    auc: float | None
    calibration: Calibration | None
    points: dict[str, Point]


class SourceRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source: of its `n` images, `flagged` were called AI at the balanced point.

    `abstained` fell into a slice without thresholds. All out of fold.
    """

    source: str
    label: str
    slice: str
    n: int
    flagged: int
    abstained: int


class Data(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the head was fitted and measured on; no image is part of the weights."""

    description: str
    sha256: str
    images: int
    real: int
    ai: int
    sources: int
    groups: int


class Meta(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """meta.json."""

    format: int
    id: str
    date: str
    command: str
    license: str
    model: str
    base: File
    head: File
    blocks: tuple[int, ...]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    calibration_id: str
    prior: float
    evaluation: dict[str, float]
    slices: dict[str, SliceFacts]
    data: Data
    sources: tuple[SourceRow, ...]


class Weights:
    """Weights that were found whole. Tensors are read from disk when asked for."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta

    def __repr__(self) -> str:
        return f"Weights({self.meta.id!r}, sha256={self.sha256[:12]})"

    @property
    def sha256(self) -> str:
        """One digest of all that decides a score: both files' tensors and the preprocessing."""
        return identity(self.meta)

    def base(self) -> Base:
        """Open the tower's tensors."""
        return Base(self.folder / self.meta.base.file)

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight (K, D) and bias (K)."""
        with _open(self.folder / self.meta.head.file) as file:
            return file.get_tensor("weight"), file.get_tensor("bias")


class Base:
    """The tower's tensors by open_clip's names, without the leading `visual.`."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        self._names = frozenset(self._file.keys())

    def names(self) -> list[str]:
        """Return the names of all tensors, scales apart."""
        names = (name for name in self._names if not name.endswith(".scale"))
        return sorted(name.removeprefix("visual.") for name in names)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return one tensor, dequantised."""
        values: NDArray[np.float32] = self._file.get_tensor(f"visual.{name}").astype(np.float32)
        if f"visual.{name}.scale" not in self._names:
            return values
        scale: NDArray[np.float32] = self._file.get_tensor(f"visual.{name}.scale")
        return values * (scale if name == "proj" else scale[:, None])

    def quantised(self, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return a linear weight as stored: int8 (out, in) and its scales (out, 1)."""
        scale = self._file.get_tensor(f"visual.{name}.scale")
        return self._file.get_tensor(f"visual.{name}"), scale[:, None]


def open_weights(which: str | Path | None = None) -> Weights:
    """Return installed weights by name, those of a folder, or (None) the only ones installed.

    Raises WeightsError, which says what to do, unless all is as meta.json says.
    """
    folder = which if isinstance(which, Path) else _installed(which)
    meta = _read_meta(folder / "meta.json")
    _check_meta(meta, folder)
    _check_file(folder, meta.base, dict(_base_layout()))
    features = len(meta.blocks) * WIDTH
    outputs = len(meta.outputs)
    layout = {"weight": ((outputs, features), "F32"), "bias": ((outputs,), "F32")}
    _check_file(folder, meta.head, layout)
    return Weights(folder, meta)


def digest(path: Path) -> str:
    """Return the sha256 of a safetensors file's content: name, type, shape, bytes, by name.

    The file's own hash would depend on the version of the library that wrote it.
    """
    total = hashlib.sha256()
    with _open(path) as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            total.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            total.update(np.ascontiguousarray(tensor).data)
    return total.hexdigest()


def identity(meta: Meta) -> str:
    """Return the digest of all that decides a score."""
    parts = [meta.base.sha256, meta.head.sha256, meta.blocks, meta.outputs, meta.preprocessing]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def calibration_id(slices: Mapping[str, SliceFacts]) -> str:
    """Return the name of these operating points and calibrations; any change gives another."""
    return f"cal-{hashlib.sha256(msgspec.json.encode(slices, order='sorted')).hexdigest()[:12]}"


def _installed(name: str | None) -> Path:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name is None and len(found) == 1:
        return _folder(next(iter(found.values())))
    if name in found:
        return _folder(found[name])
    if not found:
        detail = "No weights are installed: in a checkout of pinclip, pip install ./weights"
    elif name is None:
        detail = f"Several weights are installed: name one of {', '.join(sorted(found))}."
    else:
        detail = f"No weights named {name!r} are installed; there are {', '.join(sorted(found))}."
    raise WeightsError("weights_missing", detail)


def _folder(entry: EntryPoint) -> Path:
    spec = find_spec(entry.value)
    if spec is None or spec.origin is None:
        raise WeightsError("weights_missing", f"{entry.value} has no files. {REMEDY}")
    return Path(spec.origin).parent


def _read_meta(path: Path) -> Meta:
    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise WeightsError(
                "weights_foreign",
                f"{path} has format {version!r}, but this pinclip reads format {FORMAT}: install "
                "the pinclip and the weights of one release.",
            )
        return msgspec.json.decode(data, type=Meta)
    except FileNotFoundError:
        raise WeightsError("weights_missing", f"{path} does not exist. {REMEDY}") from None
    except msgspec.MsgspecError as error:
        raise WeightsError(
            "weights_damaged", f"{path} is not as written: {error}. {REMEDY}"
        ) from None


def _check_meta(meta: Meta, folder: Path) -> None:
    """Refuse a tower or outputs that this code would misread."""
    if meta.model != MODEL:
        raise WeightsError(
            "weights_foreign",
            f"{folder} holds weights for {meta.model}; this pinclip runs {MODEL} only.",
        )
    if (
        meta.outputs != ("score", *meta.slices)
        or not all(1 <= block <= LAYERS for block in meta.blocks)
        or meta.preprocessing.size != SIZE
        or any(tuple(facts.points) != POINTS for facts in meta.slices.values())
        or meta.calibration_id != calibration_id(meta.slices)
    ):
        raise WeightsError(
            "weights_damaged", f"{folder / 'meta.json'} contradicts itself. {REMEDY}"
        )


def _check_file(
    folder: Path, facts: File, layout: Mapping[str, tuple[tuple[int, ...], str]]
) -> None:
    """Refuse a file whose tensors are not those of `layout` (name: shape, types) or meta.json."""
    path = folder / facts.file
    with _open(path) as file:
        found = {name: file.get_slice(name) for name in sorted(file.keys())}
        for name, (shape, kinds) in layout.items():
            if name not in found:
                raise WeightsError("weights_foreign", f"{path} has no tensor {name}. {REMEDY}")
            have = (tuple(found[name].get_shape()), found[name].get_dtype())
            if have[0] != shape or have[1] not in kinds.split("|"):
                raise WeightsError(
                    "weights_foreign",
                    f"{path}: {name} is {have[1]} {have[0]}, expected {kinds} {shape}. {REMEDY}",
                )
    if digest(path) != facts.sha256:
        raise WeightsError(
            "weights_damaged", f"{path} does not hold the tensors that meta.json names. {REMEDY}"
        )


def _open(path: Path) -> Any:
    try:
        return safe_open(path, "numpy")
    except FileNotFoundError:
        raise WeightsError("weights_missing", f"{path} does not exist. {REMEDY}") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            "weights_damaged", f"{path} cannot be read ({error}). {REMEDY}"
        ) from None


def _base_layout() -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    """Yield every tensor of the tower: name, shape, allowed types."""
    small = "F16|F32"
    yield "visual.class_embedding", ((WIDTH,), small)
    yield "visual.positional_embedding", ((TOKENS, WIDTH), small)
    yield "visual.conv1.weight", ((WIDTH, 3, PATCH, PATCH), small)
    yield "visual.proj", ((WIDTH, EMBED), "I8")
    yield "visual.proj.scale", ((EMBED,), "F32")
    norms = ["ln_pre", "ln_post"]
    for layer in range(LAYERS):
        block = f"transformer.resblocks.{layer}."
        norms += [f"{block}ln_1", f"{block}ln_2"]
        yield from _linear(f"visual.{block}attn.in_proj_", 3 * WIDTH, WIDTH)
        yield from _linear(f"visual.{block}attn.out_proj.", WIDTH, WIDTH)
        yield from _linear(f"visual.{block}mlp.c_fc.", 4 * WIDTH, WIDTH)
        yield from _linear(f"visual.{block}mlp.c_proj.", WIDTH, 4 * WIDTH)
    for norm in norms:
        yield f"visual.{norm}.weight", ((WIDTH,), small)
        yield f"visual.{norm}.bias", ((WIDTH,), small)


def _linear(
    prefix: str, outputs: int, inputs: int
) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    yield f"{prefix}weight", ((outputs, inputs), "I8")
    yield f"{prefix}weight.scale", ((outputs,), "F32")
    yield f"{prefix}bias", ((outputs,), "F16|F32")
