"""pinclip.monitor: what is shown is what was measured; what is wrong is said once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pinclip import recipe, start
from pinclip.monitor import LOG_STEPS, Monitor, facts_of, is_due, warnings_of
from pinclip.noise import Noise

HOW = recipe.Noise(kind="learned", sigma_0=0.3, mean_limit=0.5, bank_size=8, heads=2, head_width=8)


def noise(sigma: float, mean: float) -> Noise:
    return Noise(torch.full((4, 6), mean), torch.full((4, 6), 2 * math.log(sigma)))


def test_facts_are_of_the_noise() -> None:
    facts = facts_of(torch.nn.Linear(2, 2), noise(0.6, -0.25), HOW)

    assert facts == pytest.approx(
        {"noise/strength": 4.0, "noise/mean": 0.25, "noise/mean_share": 0.5}
    )


def test_facts_are_of_attention_and_adapters() -> None:
    model = small()
    block = model.visual.transformer.resblocks[1].attn
    adapter = model.trainable()["adapter"]
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    before = facts_of(model, model.eval()(images, gate=1.0).noise, HOW)
    with torch.no_grad():
        for parameter in adapter:
            parameter.fill_(0.1)
    after = facts_of(model, None, HOW)

    assert before["noise/strength"] == pytest.approx(1)
    assert 0.9 < before["attention/entropy"] <= 1
    assert 1 <= before["attention/rank"] <= 5
    assert before["adapter/share"] == 0
    original = block.parametrizations["in_proj_weight"].original
    moved = (block.in_proj_weight - original).detach()
    expected = float(moved.norm() / original.norm())
    assert after["adapter/share"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        pytest.param({"noise/strength": 1.0, "noise/mean_share": 0.3}, None, id="healthy"),
        pytest.param({"noise/strength": 0.19}, "variance", id="collapse"),
        pytest.param({"noise/strength": 3.1}, "variance", id="run-away"),
        pytest.param({"noise/mean_share": 0.97}, "mean", id="saturated"),
        pytest.param({"attention/entropy": 0.01, "attention/rank": 1.0}, "attention", id="peaked"),
        pytest.param({"attention/entropy": 1.0, "attention/rank": 0.0}, "attention", id="flat"),
        pytest.param({"attention/entropy": 1.0, "attention/rank": 9.0}, None, id="flat-but-varied"),
    ],
)
def test_warnings_are_those_of_the_method(facts: dict[str, float], kind: str | None) -> None:
    kinds = [warning.partition(":")[0] for warning in warnings_of(facts)]

    assert kinds == ([] if kind is None else [kind])


def test_curves_are_written_and_a_warning_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Monitor(tmp_path, total=3, start=0) as monitor:
        for step, size in ((1, 1.0), (2, 0.1), (3, 0.05)):
            monitor.show(step, {"loss/all": 0.5 / step, "noise/strength": size})
            monitor.step()

    log = EventAccumulator(str(tmp_path))
    log.Reload()
    points = [(point.step, round(point.value, 3)) for point in log.Scalars("loss/all")]
    assert points == [(1, 0.5), (2, 0.25), (3, 0.167)]
    assert len(monitor.warnings) == 1
    said = capsys.readouterr().err
    assert said.count("warning at step 2: variance: it has collapsed") == 1
    assert "step 3" not in said


def test_without_a_folder_nothing_is_written_or_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Monitor(None, total=1, start=0) as monitor:
        monitor.show(1, {"noise/strength": 9.0})

    assert len(monitor.warnings) == 1
    assert capsys.readouterr().err == ""


def test_facts_are_due_at_first_at_last_and_now_and_then() -> None:
    due = [step for step in range(1, 48) if is_due(step, 47)]

    assert due == [1, LOG_STEPS, 2 * LOG_STEPS, 47]


def small() -> start.PinClip:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = VisionTransformer(
            image_size=32,
            patch_size=16,
            width=64,
            layers=2,
            heads=4,
            mlp_ratio=1,
            output_dim=32,
            act_layer=QuickGELU,
        )
        bank = torch.randn(8, 32)
    adapter = recipe.Adapter(kind="lora", blocks=(2,), rank=2)
    model = recipe.Model(features="embedding", adapter=adapter)
    made = start.make(tower, recipe.Recipe(name="small", model=model, noise=HOW))
    made.set_bank(bank)
    return made
