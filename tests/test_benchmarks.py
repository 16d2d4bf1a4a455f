"""What the benchmarks compute from what they measure."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from benchmarks import measuring, peer_infinity, peers, pictures
from benchmarks.callers import Answer
from benchmarks.simulation import steady
from benchmarks.worker_path import bound, share
from pinclip.weights import open_weights

MS = {
    "fetch": 9.0,
    "decode": 9.0,
    "prepare": 9.0,
    "forward, batch 1": 40.0,
    "forward, batch 8": 25.0,
}
CPU = {"fetch": 2.0, "decode": 5.0, "prepare": 3.0}


def test_the_bound_is_the_fastest_forward_pass_and_the_cpu_time_of_the_rest() -> None:
    cores = measuring.cores()

    assert bound(MS, CPU) == pytest.approx(1000 / (25 + 10 / cores))


def test_a_second_look_lowers_the_bound_and_not_the_share() -> None:
    cores = measuring.cores()
    found = {"scans": 10, "looked at twice": 10, "scans a second": 1000 / (2 * 25 + 10 / cores)}

    assert share(found, MS, CPU) == pytest.approx(1.0)


def test_the_steady_rate_leaves_out_the_start_and_the_end() -> None:
    # A slow start, ten answers a second, a slow end.
    at = [0.0, 5.0, *(6 + number / 10 for number in range(11)), 12.0, 20.0]
    answers = [Answer(scan={}, seconds=0.1, at=moment, refused=0) for moment in at]

    assert steady(answers, callers=2) == pytest.approx(10.0)


def test_numbered_pictures_differ_in_bytes_alone() -> None:
    one, two = (pictures.numbered(pictures.photo(64, 48), number) for number in (1, 2))

    assert one != two
    assert _pixels(one) == _pixels(pictures.numbered(one, 3))


def test_a_missed_bar_is_the_exit_status_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = measuring.at_most("ms", 4, 5), measuring.at_least("rate", 4, 5)

    assert measuring.tell({"name": "x", "bars": [good]}) == 0
    assert measuring.tell({"name": "x", "bars": [good, bad]}) == 1

    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[1])["bars"][1]["met"] is False
    assert told.err == "rate: 4, at least 5 wanted.\n"


def test_what_a_process_costs_is_read_with_its_children() -> None:
    code = "sum(range(10**7)); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()

        assert child.pid in measuring.family(os.getpid())
        assert measuring.cpu_seconds([child.pid]) > 0
        assert 1 < measuring.megabytes([child.pid]) < 200
        assert measuring.open_files([child.pid]) >= 3
        assert measuring.has_loaded(child.pid, "libc.so")
        assert not measuring.has_loaded(child.pid, "libtorch")
        child.communicate("\n")


def test_each_peer_is_pinned_with_all_that_is_installed_for_it() -> None:
    lines = (peers.FOLDER / "peers-requirements.txt").read_text().splitlines()
    wanted = [line.split() for line in lines if not line.startswith("#")]

    assert {Requirement(first).name for first, *_ in wanted} >= {"litserve", "infinity-emb"}
    for requirement in (Requirement(text) for line in wanted for text in line):
        assert [pin.operator for pin in requirement.specifier] == ["=="], requirement


def test_infinity_gets_the_whole_tower_under_the_names_of_transformers() -> None:
    base = open_weights().base()
    tensors = dict(peer_infinity.renamed(base))

    assert sorted(tensors) == sorted(_names_in_transformers())
    assert sum(values.size for values in tensors.values()) == sum(
        base.tensor(name).size for name in base.names()
    )
    last = "vision_model.encoder.layers.11.self_attn"  # one that an adapter changes
    joined = np.concatenate([tensors[f"{last}.{part}_proj.weight"] for part in "qkv"])
    assert np.array_equal(joined, base.tensor("transformer.resblocks.11.attn.in_proj_weight"))
    # torch's linear is x W^T, and open_clip multiplies by `proj` as it is.
    assert np.array_equal(tensors["visual_projection.weight"], base.tensor("proj").T)


def test_a_peer_with_another_tower_is_refused() -> None:
    own = np.full(512, 512**-0.5, np.float32)
    bent = own + 0.06 * np.tile([512**-0.5, -(512**-0.5)], 256)
    bent /= np.linalg.norm(bent)

    assert peer_infinity.check(own.tolist(), own) == pytest.approx(1.0)
    with pytest.raises(RuntimeError, match=r"does not run our tower: cosine 0\.998"):
        peer_infinity.check(bent.tolist(), own)


def _names_in_transformers() -> list[str]:
    """Return the names of CLIPVisionModelWithProjection's parameters, twelve blocks."""
    block = ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
    block += [f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    layers = [f"encoder.layers.{number}.{part}" for number in range(12) for part in block]
    layers += ["pre_layrnorm", "post_layernorm"]
    names = [f"vision_model.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    names += [
        f"vision_model.embeddings.{part}"
        for part in ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    ]
    return [*names, "visual_projection.weight"]


def _pixels(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.tobytes()
