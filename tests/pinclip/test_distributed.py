"""pinclip.distributed: two processes train what one does; devices and shares are refused aloud."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pinclip import checkpoint
from pinclip.distributed import DeviceError, World, gains_from_bfloat16, join, sum_gradients
from pinclip.progress import MODEL

TESTS = Path(__file__).parent
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
import test_train as tiny
from pinclip.distributed import join

with join("cpu") as world:
    assert world.size == 2, world
    examples = tiny.shown()
    keep, left = tiny.split(examples)
    model = tiny.start.make(tiny.tower(), tiny.LORA)
    tiny.train.fit(model, examples, tiny.LORA, keep=keep, out=Path(sys.argv[1]), world=world)
    scores = tiny.train.score_all(model, examples, left, world=world)
    alone = tiny.train.score_all(model, examples, left)
    assert abs(scores - alone).max() < 1e-5
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_the_same_as_one(tmp_path: Path) -> None:
    """Same recipe, same batch of two parts, dropout and noise on: only the sums are shared."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    order = [sys.executable, *torchrun, str(program), str(tmp_path / "two")]
    found = subprocess.run(order, capture_output=True, text=True, timeout=280, check=False)

    assert found.returncode == 0, found.stderr[-2000:]
    tiny = runpy.run_path(str(TESTS / "test_train.py"))
    one = tiny["run"](tiny["tower"](), tiny["LORA"], tiny["shown"]())
    two, state = checkpoint.load(tmp_path / "two" / MODEL, recipe=None, data=None)
    assert state.step == 8
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-5)


def test_one_process_needs_no_group() -> None:
    with join("cpu") as world:
        assert (world.rank, world.size, world.device.type) == (0, 1, "cpu")
        assert world.is_first
        assert list(world.share(3)) == [0, 1, 2]
        assert float(world.sum(torch.tensor(2.0))) == 2.0


def test_processes_take_whole_parts() -> None:
    shares = [list(World(rank=rank, size=2).share(4)) for rank in range(2)]

    assert shares == [[0, 2], [1, 3]]
    with pytest.raises(DeviceError, match=r"accumulate is 3 and there are 2 processes"):
        World(size=2).share(3)


def test_alone_the_gradients_stay_as_they_are() -> None:
    parameter = torch.zeros(3, requires_grad=True)
    parameter.grad = torch.ones(3)

    facts = sum_gradients([parameter], torch.tensor([1.0, 2.0]), World())

    assert facts.tolist() == [1, 2]
    assert parameter.grad.tolist() == [1, 1, 1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
def test_a_device_that_is_absent_is_refused() -> None:
    with pytest.raises(DeviceError, match="sees no CUDA device"), join("cuda"):
        pass


def test_a_device_that_is_unknown_is_refused() -> None:
    with pytest.raises(DeviceError, match="auto, cpu or cuda"), join("tpu"):
        pass


def test_bfloat16_is_used_only_where_it_gains() -> None:
    able = torch.cpu.get_capabilities()

    gains = gains_from_bfloat16(torch.device("cpu"))

    assert gains == (able["amx_bf16"] or able["avx512_bf16"])
