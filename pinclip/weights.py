"""What ships: the tower's tensors, adapter and head, and meta.json that says how good they are.

    folder/                     found by name (entry-point group `pinclip.weights`) or by path
      meta.json         Meta    identity, preprocessing, calibration, error rates, licences
      base.safetensors          CLIP ViT-B/16 image tower, int8 per output channel
      adapter.safetensors       optional: low-rank changes of the tower, added where it is read
      head.safetensors          weight (K, D), bias (K): one score logit, then one per slice;
                                optional: a hidden layer that adds to the score logit
      int8.safetensors          optional: what makes 8 bits of the numbers that enter a linear layer

`open_weights` returns only what is whole: every tensor's name, shape and type is checked, then
the sha256 of all of them. Knows how the numbers are stored, not how they are computed with.
docs/decisions/0011 says why an adapter is never merged into the int8 tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Struct
from safetensors import SafetensorError, safe_open

from .preprocess import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Layout = Mapping[str, tuple[tuple[int, ...], str]]

GROUP = "pinclip.weights"
"""Entry-point group in which a weights distribution names its package."""
FORMAT = 1
"""Version of meta.json that this code reads."""
POINTS = ("strict", "balanced", "sensitive")
"""Names of the operating points, from few false alarms to many."""
FLOATS = "F16|F32"

MODEL = "ViT-B-16-quickgelu"
"""open_clip's name of the one tower that is built here."""
WIDTH, LAYERS, HEADS, PATCH, SIZE, EMBED = 768, 12, 12, 16, 224, 512
TOKENS = (SIZE // PATCH) ** 2 + 1
LINEAR = {
    f"transformer.resblocks.{layer}.{name}": inputs
    for layer in range(LAYERS)
    for name, inputs in (
        ("attn.in_proj", WIDTH),
        ("attn.out_proj", WIDTH),
        ("mlp.c_fc", WIDTH),
        ("mlp.c_proj", 4 * WIDTH),
    )
}
"""The linear layers of the tower, and how many numbers enter each."""

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


class Meta(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """meta.json. What has a default is left out of the file where it is the default."""

    format: int
    id: str
    date: str
    command: str
    license: str
    model: str
    base: File
    head: File
    adapter: File | None = None
    """Low-rank changes of q, k, v of some blocks (`Base`), if the tower was tuned."""
    int8: File | None = None
    """Ranges for precision int8 (`Levels`); there only if they passed the bar of int8.py."""
    hidden: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Width of the head's hidden layer (`Hidden`); 0: the head is linear."""
    blocks: tuple[int, ...]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    calibration_id: str
    prior: float
    evaluation: dict[str, float]
    slices: dict[str, SliceFacts]
    data: Data
    sources: tuple[SourceRow, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Hidden:
    """GELU(weight x + bias) . output is added to the score logit; GELU is the exact one (erf).

    weight (H, D), bias (H,), output (H,). Heads that were trained side by side and averaged are
    one wide layer: rows joined, outputs divided by their number.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    output: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """weight (K, D) and bias (K,) give the outputs; `hidden`, where there is one, adds to row 0."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    hidden: Hidden | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """How 8 bits stand for what enters a linear layer: x / smooth, in 256 steps of `range`.

    smooth (in,) above 0, range (2,) with 0 as one of the steps. The layer's weight is multiplied by
    `smooth` in turn (SmoothQuant, arXiv 2211.10438).
    """

    smooth: NDArray[np.float32]
    range: NDArray[np.float32]


class Weights:
    """Weights that were found whole. Tensors are read from disk when asked for."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta

    def __repr__(self) -> str:
        return f"Weights({self.meta.id!r}, sha256={self.sha256[:12]})"

    @property
    def sha256(self) -> str:
        """One digest of all that decides a score: every file's tensors and the preprocessing."""
        return identity(self.meta)

    @property
    def int8(self) -> Path | None:
        """The file of the ranges for 8 bits, if these weights have it."""
        return None if self.meta.int8 is None else self.folder / self.meta.int8.file

    def base(self, *, int8: Path | None = None) -> Base:
        """Open the tower's tensors, with the adapter's changes where there is one.

        `int8`: a file of ranges, for a graph that multiplies in 8 bits.
        """
        adapter = self.meta.adapter
        return Base(
            self.folder / self.meta.base.file,
            adapter=None if adapter is None else self.folder / adapter.file,
            int8=int8,
        )

    def head(self) -> Head:
        """Return the head, float32.

        Raises WeightsError if it is not the one of meta.json: the file may have been replaced since
        the weights were opened, under a worker that goes on.
        """
        path = self.folder / self.meta.head.file
        with _open(path) as file:
            read = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118 - a safetensors file is not iterable
        _check_digest(path, self.meta.head)
        hidden = None
        if self.meta.hidden:
            hidden = Hidden(**{key: read[f"hidden.{key}"] for key in ("weight", "bias", "output")})
        return Head(weight=read["weight"], bias=read["bias"], hidden=hidden)


class Base:
    """The tower's tensors by open_clip's names, without the leading `visual.`.

    `adapter` is a file of low-rank factors a (r, 768) and b (768, r) for q, k and v of the tuned
    blocks: W = scale * int8 + b a, in float32 (LoRA, arXiv 2106.09685, eq. 3, its scaling inside
    b). The sum is never quantised again; tensors that were not tuned stay as they are stored.
    """

    def __init__(
        self, path: Path, *, adapter: Path | None = None, int8: Path | None = None
    ) -> None:
        self._file = _open(path)
        self._int8 = None if int8 is None else _open(int8)
        self._names = frozenset(self._file.keys())
        self._adapter = None if adapter is None else _open(adapter)
        self._tuned = frozenset(_tuned(self._adapter.keys())) if self._adapter else frozenset()

    def names(self) -> list[str]:
        """Return the names of all tensors, scales apart."""
        names = (name for name in self._names if not name.endswith(".scale"))
        return sorted(name.removeprefix("visual.") for name in names)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return one tensor, dequantised and with the adapter's change."""
        values: NDArray[np.float32] = self._file.get_tensor(f"visual.{name}").astype(np.float32)
        if f"visual.{name}.scale" in self._names:
            scale: NDArray[np.float32] = self._file.get_tensor(f"visual.{name}.scale")
            values = values * (scale if name == "proj" else scale[:, None])
        return values + self._change(name) if self.is_tuned(name) else values

    def is_tuned(self, name: str) -> bool:
        """Return whether the adapter changes this tensor, so that it is float32 only."""
        return name in self._tuned

    def quantised(self, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return a linear weight as stored, without an adapter: int8 (out, in), scales (out, 1)."""
        scale = self._file.get_tensor(f"visual.{name}.scale")
        return self._file.get_tensor(f"visual.{name}"), scale[:, None]

    def levels(self, layer: str) -> Levels | None:
        """Return how 8 bits stand for the inputs of a layer of LINEAR, or None: in float."""
        if self._int8 is None or f"{layer}.smooth" not in self._int8.keys():  # noqa: SIM118 - as in `head`
            return None
        smooth, ends = (self._int8.get_tensor(f"{layer}.{part}") for part in ("smooth", "range"))
        return Levels(smooth=smooth.astype(np.float32), range=ends)

    def _change(self, name: str) -> NDArray[np.float32]:
        """Return b a of q, k and v, one below the other as in the joined weight: (2304, 768)."""
        at = name.removesuffix("_weight")
        file: Any = self._adapter
        factors = [
            [file.get_tensor(f"{at}.{part}.{side}").astype(np.float32) for side in "ba"]
            for part in "qkv"
        ]
        return np.concatenate([b @ a for b, a in factors])


def open_weights(which: str | Path | None = None) -> Weights:
    """Return installed weights by name, those of a folder, or (None) the only ones installed.

    Raises WeightsError, which says what to do, unless all is as meta.json says.
    """
    folder = which if isinstance(which, Path) else _installed(which)
    meta = _read_meta(folder / "meta.json")
    _check_meta(meta, folder)
    _check_file(folder, meta.base, dict(_base_layout()))
    if meta.adapter is not None:
        _check_file(folder, meta.adapter, _adapter_layout(folder / meta.adapter.file))
    if meta.int8 is not None:
        _check_file(folder, meta.int8, _int8_layout(folder / meta.int8.file))
    _check_file(folder, meta.head, _head_layout(meta))
    return Weights(folder, meta)


def named(text: str | None) -> str | Path | None:
    """Return what `open_weights` takes for what a person wrote: a folder, or else a name."""
    return Path(text) if text is not None and Path(text).is_dir() else text


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
    parts: list[object] = [meta.base.sha256, meta.head.sha256]
    parts += [meta.blocks, meta.outputs, meta.preprocessing]
    if meta.adapter is not None:
        parts.append({"adapter": meta.adapter.sha256})
    if meta.int8 is not None:
        parts.append({"int8": meta.int8.sha256})
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def features_identity(meta: Meta, *, engine: str, precision: str) -> str:
    """Return the digest of all that decides what the head reads; head and calibration do not.

    `engine` and `precision` name what runs here: ranges for 8 bits count where they are used.
    """
    parts: list[object] = [meta.base.sha256, meta.blocks, meta.preprocessing, engine, precision]
    if meta.adapter is not None:
        parts.append({"adapter": meta.adapter.sha256})
    if meta.int8 is not None and precision == "int8":
        parts.append({"int8": meta.int8.sha256})
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
        or not meta.blocks
        or list(meta.blocks) != sorted(set(meta.blocks) & set(range(1, LAYERS + 1)))
        or meta.preprocessing.size != SIZE
        or any(tuple(facts.points) != POINTS for facts in meta.slices.values())
        or meta.calibration_id != calibration_id(meta.slices)
    ):
        raise WeightsError(
            "weights_damaged", f"{folder / 'meta.json'} contradicts itself. {REMEDY}"
        )


def _check_file(folder: Path, facts: File, layout: Layout) -> None:
    """Refuse a file whose tensors are not those of `layout` (name: shape, types) or meta.json."""
    path = folder / facts.file
    with _open(path) as file:
        found = {name: file.get_slice(name) for name in sorted(file.keys())}
        if foreign := sorted(found.keys() - layout.keys()):
            raise WeightsError(
                "weights_foreign",
                f"{path} has a tensor {foreign[0]} that this pinclip would not use. {REMEDY}",
            )
        for name, (shape, kinds) in layout.items():
            if name not in found:
                raise WeightsError("weights_foreign", f"{path} has no tensor {name}. {REMEDY}")
            have = (tuple(found[name].get_shape()), found[name].get_dtype())
            if have[0] != shape or have[1] not in kinds.split("|"):
                raise WeightsError(
                    "weights_foreign",
                    f"{path}: {name} is {have[1]} {have[0]}, expected {kinds} {shape}. {REMEDY}",
                )
    _check_digest(path, facts)


def _check_digest(path: Path, facts: File) -> None:
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


def _head_layout(meta: Meta) -> Layout:
    """Return every tensor of the head: shape, allowed types, by name."""
    features, outputs = len(meta.blocks) * WIDTH, len(meta.outputs)
    layout = {"weight": ((outputs, features), "F32"), "bias": ((outputs,), "F32")}
    if meta.hidden:
        layout |= {
            "hidden.weight": ((meta.hidden, features), FLOATS),
            "hidden.bias": ((meta.hidden,), FLOATS),
            "hidden.output": ((meta.hidden,), FLOATS),
        }
    return layout


def _adapter_layout(path: Path) -> Layout:
    """Return every tensor of an adapter that tunes the blocks that this file names."""
    layout = {}
    with _open(path) as file:
        names = frozenset(file.keys())
        for tuned in _tuned(names):
            for part in "qkv":
                at = f"{tuned.removesuffix('_weight')}.{part}"
                # The file says the rank; a without any is refused for its shape.
                rank = (*file.get_slice(f"{at}.a").get_shape(), 0)[0] if f"{at}.a" in names else 0
                layout[f"{at}.a"] = ((rank, WIDTH), FLOATS)
                layout[f"{at}.b"] = ((WIDTH, rank), FLOATS)
    if not layout:
        raise WeightsError("weights_foreign", f"{path} tunes no block. {REMEDY}")
    return layout


def _int8_layout(path: Path) -> Layout:
    """Return every tensor of the ranges of the layers that this file names."""
    layout: dict[str, tuple[tuple[int, ...], str]] = {}
    with _open(path) as file:
        names = frozenset(file.keys())
        for layer, inputs in LINEAR.items():
            if any(name.startswith(f"{layer}.") for name in names):
                layout[f"{layer}.smooth"] = ((inputs,), FLOATS)
                layout[f"{layer}.range"] = ((2,), "F32")
    if not layout:
        raise WeightsError("weights_foreign", f"{path} has no ranges. {REMEDY}")
    return layout


def _tuned(names: Collection[str]) -> Iterator[str]:
    """Yield the tower's tensors that an adapter with these tensors changes."""
    for layer in range(LAYERS):
        at = f"transformer.resblocks.{layer}.attn.in_proj"
        if any(name.startswith(f"{at}.") for name in names):
            yield f"{at}_weight"


def _base_layout() -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    """Yield every tensor of the tower: name, shape, allowed types."""
    small = FLOATS
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
    yield f"{prefix}bias", ((outputs,), FLOATS)
