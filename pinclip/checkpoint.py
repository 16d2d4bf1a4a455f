"""A checkpoint: one file that holds a training step whole, or is refused.

    tensors + State --sha256-->  safetensors in memory --> .part --fsync--> rename --> checkpoint

A file under its own name was written to its last byte. Its header says which recipe, which data
and which step it is of, and the digest covers header and tensors, so a damaged or a foreign file
is told apart from ours before a number of it is used. No random state is kept: seeds follow from
the step (sampling.py). Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

FORMAT = 1
"""Version of the file that this code writes and reads."""
KEY = "pinclip"
DIGEST = "sha256"


class CheckpointError(Exception):
    """A checkpoint that cannot be used or written, and what to do.

    `code`: checkpoint_missing, checkpoint_damaged, checkpoint_format, checkpoint_recipe,
    checkpoint_data, disk_full, not_writable.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class State(Struct, frozen=True, kw_only=True):
    """What the tensors belong to: digests of the recipe and of the data, and the steps done."""

    recipe: str
    data: str
    step: int
    format: int = FORMAT


def save(path: Path, tensors: Mapping[str, Tensor], state: State) -> None:
    """Write a checkpoint that is whole once it has its name.

    Raises CheckpointError disk_full or not_writable; then what stood there before still stands.
    """
    parts = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = msgspec.json.encode(state).decode()
    metadata = {KEY: header, DIGEST: _digest(parts, header)}
    write_whole(path, safetensors.save(parts, metadata))


def load(path: Path, *, recipe: str | None, data: str | None) -> tuple[dict[str, Tensor], State]:
    """Return the tensors (on the CPU) and the state of a checkpoint of this recipe and this data.

    None for either digest accepts any. Raises CheckpointError for every other file.
    """
    header, digest, tensors = _read(path)
    state = _state(path, header)
    if _digest(tensors, header) != digest:
        raise CheckpointError(
            "checkpoint_damaged",
            f"{path} does not hold what was written: its sha256 is another. {_REMOVE}",
        )
    _check_origin(path, state, recipe=recipe, data=data)
    return tensors, state


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a name beside it, push it to the disk, then rename it.

    Raises CheckpointError disk_full or not_writable and leaves nothing half written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise refusal(path, len(content), error) from error


def refusal(path: Path, size: int, error: OSError) -> CheckpointError:
    """Return the error that says why `size` bytes could not be written to `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CheckpointError(
            "disk_full",
            f"{path} needs {size / 2**20:.1f} MiB and the disk holds no more ({error.strerror}): "
            "free some space and run the same command again; it goes on from the last checkpoint.",
        )
    return CheckpointError(
        "not_writable", f"{path} cannot be written ({error.strerror}): choose another folder."
    )


_REMOVE = "Remove it to begin this part of the run again."


def _read(path: Path) -> tuple[str, str, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError("checkpoint_missing", f"{path} does not exist.") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "checkpoint_damaged", f"{path} cannot be read ({error}). {_REMOVE}"
        ) from None
    if KEY not in metadata or DIGEST not in metadata:
        raise CheckpointError(
            "checkpoint_format", f"{path} is no checkpoint of pinclip: its header lacks the state."
        )
    return metadata[KEY], metadata[DIGEST], tensors


def _state(path: Path, header: str) -> State:
    """Return what the header says; its version is read first, for a later one may hold more."""
    try:
        version = msgspec.json.decode(header, type=dict[str, object]).get("format")
        if version != FORMAT:
            raise CheckpointError(
                "checkpoint_format",
                f"{path} has format {version!r}, this pinclip reads {FORMAT}: go on with the "
                "pinclip that wrote it, or begin again in another folder.",
            )
        return msgspec.json.decode(header, type=State)
    except msgspec.MsgspecError as error:
        raise CheckpointError(
            "checkpoint_damaged", f"{path}: its header is not as written ({error}). {_REMOVE}"
        ) from None


def _check_origin(path: Path, state: State, *, recipe: str | None, data: str | None) -> None:
    if recipe is not None and state.recipe != recipe:
        raise CheckpointError(
            "checkpoint_recipe",
            f"{path} was trained by recipe {state.recipe[:12]}, this one is {recipe[:12]}: go on "
            "with the recipe of its run folder, or train into another folder.",
        )
    if data is not None and state.data != data:
        raise CheckpointError(
            "checkpoint_data",
            f"{path} was trained on data {state.data[:12]}, these are {data[:12]}: a file, label, "
            "group or fold has changed; train into another folder.",
        )


def _digest(tensors: Mapping[str, Tensor], header: str) -> str:
    total = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
