"""pinclip.export: the ONNX file gives what the model gives, and says how to use it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pinclip import export as module
from pinclip.packed import pack
from pinclip.preprocess import Preprocessing
from pinclip.weights import SliceFacts, Weights, open_weights

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def weights(tuned_folder: Path) -> Weights:
    return open_weights(tuned_folder)


@pytest.fixture(scope="module")
def model(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    assert module.main(["-o", str(path), "--weights", str(weights.folder)]) == 0
    return path


def test_export_gives_what_torch_gives_at_any_batch_size(weights: Weights, model: Path) -> None:
    import onnxruntime

    from pinclip.tower import TorchTower

    meta = weights.meta
    base, head = weights.base(), weights.head()
    tower = TorchTower(base, meta.blocks, head, precision="float32", device="cpu")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(2).normal(size=(3, 3, 224, 224)).astype(np.float32)

    for part in (batch[:1], batch):
        (outputs,) = session.run(["outputs"], {"images": part})

        assert outputs.shape == (len(part), 5)
        np.testing.assert_allclose(outputs, tower.forward(part), atol=1e-4)


def test_export_says_how_the_file_is_used(weights: Weights, model: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map

    meta = weights.meta
    assert said["pinclip.weights"] == meta.id
    assert said["pinclip.weights_sha256"] == weights.sha256
    decode = msgspec.json.decode
    assert decode(said["pinclip.preprocessing"], type=Preprocessing) == meta.preprocessing
    assert tuple(decode(said["pinclip.outputs"])) == meta.outputs
    assert decode(said["pinclip.slices"], type=dict[str, SliceFacts]) == meta.slices


def test_export_is_one_file_that_holds_only_what_is_used(model: Path) -> None:
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]
    assert 55e6 < model.stat().st_size < 80e6  # 2 of 12 blocks, 7 million numbers each


def test_small_file_gives_the_same_outputs_in_fewer_bytes(
    weights: Weights, model: Path, tmp_path: Path
) -> None:
    import onnx_ir
    import onnxruntime

    small = tmp_path / "small.onnx"
    program = onnx_ir.load(model)
    before = dict(program.metadata_props)

    pack(program, weights.base())
    onnx_ir.save(program, small)

    batch = np.random.default_rng(3).normal(size=(2, 3, 224, 224)).astype(np.float32)
    large, packed = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (model, small)
    )
    (expected,), (found,) = (one.run(["outputs"], {"images": batch}) for one in (large, packed))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert packed.get_modelmeta().custom_metadata_map == before
    # The joined weights of q, k and v are tuned here, so they stay float32.
    assert small.stat().st_size < 0.5 * model.stat().st_size


class Again:
    """The program that the fixture wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, destination: Path, *, external_data: bool) -> None:
        assert not external_data
        shutil.copy(self.path, destination)


def test_publish_leaves_what_is_there_when_outputs_differ(
    weights: Weights, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("an older one")
    other = module.network(weights)
    other[1].linear.bias += 0.01

    with pytest.raises(RuntimeError, match=r"differ from torch's by 0\.01.*nothing was written"):
        module.publish(Again(model), other, path)

    assert [found.name for found in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_text() == "an older one"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-o", "{0}/no/model.onnx"], 2, "no is no folder"),
        (["-o", "{0}/model.onnx", "--weights", "other"], 3, "'other'"),
        (["-o", "{0}/model.onnx", "--weights", "{0}"], 3, "meta.json does not exist"),
    ],
    ids=["no folder", "no such weights", "a folder without weights"],
)
def test_command_says_what_is_wrong(
    arguments: list[str],
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert module.main([argument.format(tmp_path) for argument in arguments]) == status

    error = capsys.readouterr().err
    assert error.startswith("pinclip: ")
    assert said in error
    assert not list(tmp_path.iterdir())
