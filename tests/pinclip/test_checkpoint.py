"""pinclip.checkpoint: what is loaded is what was saved; all else is refused with the reason."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from pinclip.checkpoint import FORMAT, KEY, CheckpointError, State, load, save, write_whole

STATE = State(recipe="r" * 64, data="d" * 64, step=7)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        "head.weight": torch.randn(3, 5, generator=random),
        "moment": torch.randn(5, 3, generator=random).T,  # not contiguous
        "step": torch.tensor(7.0),
        "half": torch.randn(4, generator=random).bfloat16(),
        "empty": torch.zeros(0),
    }


@pytest.fixture
def path(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    made = tmp_path / "fold-0" / "checkpoint.safetensors"
    save(made, tensors, STATE)
    return made


def refused(path: Path, recipe: str | None = STATE.recipe, data: str | None = STATE.data) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path, recipe=recipe, data=data)
    return caught.value.code


def test_what_is_loaded_is_what_was_saved(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    found, state = load(path, recipe=STATE.recipe, data=STATE.data)

    assert state == STATE
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("where", [0.02, 0.3, 0.5, 0.97, 0.999])
def test_one_changed_byte_is_refused(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 4
    path.write_bytes(content)

    assert refused(path) in ("checkpoint_damaged", "checkpoint_format")


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_a_file_cut_short_is_refused(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])

    assert refused(path) == "checkpoint_damaged"


def test_a_header_of_another_step_is_refused(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"step\\":7', b'\\"step\\":8'))

    assert refused(path) == "checkpoint_damaged"


def test_another_recipe_and_other_data_are_refused(path: Path) -> None:
    assert refused(path, recipe="x" * 64) == "checkpoint_recipe"
    assert refused(path, data="x" * 64) == "checkpoint_data"


def test_another_format_and_foreign_files_are_refused(path: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.safetensors"
    header = msgspec.json.encode({"format": FORMAT + 1, "more": 1}).decode()
    save_file({"a": torch.zeros(1)}, later, {KEY: header, "sha256": "0"})
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(path), foreign)

    assert refused(later) == "checkpoint_format"
    assert refused(foreign) == "checkpoint_format"
    assert refused(tmp_path / "none") == "checkpoint_missing"


def test_a_full_disk_keeps_the_checkpoint_before(path: Path) -> None:
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        with pytest.raises(CheckpointError) as caught:
            save(path, {"large": torch.zeros(1 << 18)}, STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)

    assert caught.value.code == "disk_full"
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CheckpointError) as caught:
        write_whole(tmp_path / "file" / "checkpoint", b"content")

    assert caught.value.code == "not_writable"
