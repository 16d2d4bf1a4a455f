"""pinclip.train: the loop learns, ends the same however it was broken off or shared out, says why
it cannot go on, and uses nothing of what is left out."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from open_clip.transformer import QuickGELU, VisionTransformer

from pinclip import checkpoint, metrics, recipe, start, train
from pinclip.activations import Kept, View
from pinclip.checkpoint import CheckpointError
from pinclip.data import Row
from pinclip.distributed import World
from pinclip.model import Prefix
from pinclip.progress import CHECKPOINT, FAILED, MODEL, Stopped, TrainingError
from pinclip.recipe import Recipe

SIDE, COUNT = 32, 96
LORA = recipe.Recipe(
    name="lora with learned noise",
    seed=5,
    model=recipe.Model(
        features="embedding", adapter=recipe.Adapter(kind="lora", blocks=(4,), rank=2)
    ),
    noise=recipe.Noise(kind="learned", bank_size=4, heads=2, head_width=8, warm_up=4, draws=2),
    optimise=recipe.Optimise(
        epochs=2, batch=16, accumulate=2, checkpoint_steps=3, rate_adapter=2e-3
    ),
)
FROZEN = Recipe(
    name="frozen with learned noise",
    model=recipe.Model(features="embedding"),
    noise=replace(LORA.noise, warm_up=10),
    optimise=recipe.Optimise(epochs=6, batch=32),
)


@pytest.fixture(scope="module")
def visual() -> VisionTransformer:
    return tower()


def tower() -> VisionTransformer:
    """A tower of four small blocks, the same whenever it is made."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = VisionTransformer(
            image_size=SIDE,
            patch_size=16,
            width=64,
            layers=4,
            heads=4,
            mlp_ratio=2,
            output_dim=32,
            act_layer=QuickGELU,
        )
    return made.requires_grad_(False).eval()


class Shown:
    """Images in memory, as they are in every epoch; `happens` is called before each batch."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.batches = 0
        self.happens = lambda batches: None

    def __call__(self, indices: torch.Tensor, *, epoch: int | None) -> torch.Tensor | Prefix:
        if epoch is not None:
            self.batches += 1
            self.happens(self.batches)
        return self.images[indices]


def rows_of(is_ai: Sequence[bool], sources: int = 8) -> list[Row]:
    return [
        Row(
            file=f"{index}.png",
            label="ai" if made else "real",
            source=f"s{index % sources}",
            group=f"g{index % sources}",
            fold=index % sources % 4,
            style="photo",
            sha256_of_original="",
        )
        for index, made in enumerate(is_ai)
    ]


def shown(count: int = COUNT) -> train.Examples:
    """Noise images; those of AI have a faint grid of 4 pixels."""
    random = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, SIDE, SIDE, generator=random)
    is_ai = [index // 8 % 2 == 1 for index in range(count)]
    images[torch.tensor(is_ai), :, ::4, ::4] += 1.5
    return train.examples(rows_of(is_ai), Shown(images))


def split(examples: train.Examples, fold: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the images to train on, and of those of a fold."""
    folds = torch.tensor([row.fold for row in examples.rows])
    return torch.nonzero(folds != fold).flatten(), torch.nonzero(folds == fold).flatten()


def run(
    visual: VisionTransformer,
    how: Recipe,
    examples: train.Examples,
    out: Path | None = None,
    *,
    resume: bool = True,
) -> dict[str, torch.Tensor]:
    """Train on all folds but 0, as a new process would; return what was trained."""
    keep, _ = split(examples)
    model = start.make(visual, how)
    train.fit(model, examples, how, keep=keep, out=out, resume=resume)
    return {name: tensor.clone() for name, tensor in model.trained_state().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_the_loop_learns_what_a_left_out_fold_shows(visual: VisionTransformer) -> None:
    examples = shown(160)
    keep, left = split(examples)
    how = replace(LORA, optimise=replace(LORA.optimise, epochs=6))
    model = start.make(visual, how)
    before = train.score_all(model, examples, left)

    train.fit(model, examples, how, keep=keep, out=None)

    truth = examples.is_ai[left].numpy()
    after = train.score_all(model, examples, left)
    assert metrics.auc(after, truth) > 0.9
    assert metrics.auc(before, truth) < 0.8
    for tensor in visual.parameters():
        assert tensor.grad is None


@pytest.mark.parametrize("broken", [2, 8, 14])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(
    visual: VisionTransformer, tmp_path: Path, broken: int
) -> None:
    whole = run(visual, LORA, shown(), tmp_path / "whole")
    halved = shown()

    def break_off(batches: int) -> None:
        if batches == broken:
            raise KeyboardInterrupt

    halved.inputs.happens = break_off
    with pytest.raises(KeyboardInterrupt):
        run(visual, LORA, halved, tmp_path / "halved")
    again = shown()
    resumed = run(visual, LORA, again, tmp_path / "halved")

    assert_equal(resumed, whole)
    # Three steps of two parts lie between checkpoints, 8 steps in all.
    assert again.inputs.batches == 16 - (broken - 1) // 6 * 6
    files = [
        checkpoint.load(tmp_path / name / MODEL, recipe=None, data=None)[0]
        for name in ("whole", "halved")
    ]
    assert_equal(*files)


def test_a_finished_run_is_not_trained_again(visual: VisionTransformer, tmp_path: Path) -> None:
    first = run(visual, LORA, shown(), tmp_path)
    again = shown()

    second = run(visual, LORA, again, tmp_path)

    assert_equal(first, second)
    assert again.inputs.batches == 0


def test_resume_can_be_declined(visual: VisionTransformer, tmp_path: Path) -> None:
    run(visual, LORA, shown(), tmp_path)
    again = shown()

    run(visual, LORA, again, tmp_path, resume=False)

    assert again.inputs.batches == 16


def test_sigterm_saves_the_step_that_is_under_way(
    visual: VisionTransformer, tmp_path: Path
) -> None:
    whole = run(visual, LORA, shown())
    told = shown()

    def end(batches: int) -> None:
        if batches == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    told.inputs.happens = end
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="after step 5 of 8"):
        run(visual, LORA, told, tmp_path)

    _, state = checkpoint.load(tmp_path / CHECKPOINT, recipe=None, data=None)
    assert state.step == 5
    assert signal.getsignal(signal.SIGTERM) == before
    assert_equal(run(visual, LORA, shown(), tmp_path), whole)


def test_parts_of_a_batch_add_up_to_the_batch(visual: VisionTransformer) -> None:
    model = replace(LORA.model, adapter=replace(LORA.model.adapter, dropout=0.0))
    plain = replace(LORA, model=model, noise=recipe.Noise())
    whole = replace(plain, optimise=replace(LORA.optimise, accumulate=1))

    one, two = run(visual, whole, shown()), run(visual, plain, shown())

    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-3)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(
    visual: VisionTransformer, tmp_path: Path
) -> None:
    examples = shown()

    def spoil(batches: int) -> None:
        if batches == 9:
            examples.inputs.images[:] = torch.nan

    examples.inputs.happens = spoil
    with pytest.raises(TrainingError, match="Step 4 gave no finite loss"):
        run(visual, LORA, examples, tmp_path)

    kept = json.loads((tmp_path / f"{FAILED}.json").read_text())
    assert kept["step"] == 4
    assert len(kept["files"]) == 16
    weights, _ = checkpoint.load(tmp_path / f"{FAILED}.safetensors", recipe=None, data=None)
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    _, state = checkpoint.load(tmp_path / CHECKPOINT, recipe=None, data=None)
    assert state.step == 3


def test_another_recipe_and_other_images_are_refused(
    visual: VisionTransformer, tmp_path: Path
) -> None:
    run(visual, LORA, shown(), tmp_path)

    with pytest.raises(CheckpointError) as of_recipe:
        run(visual, replace(LORA, seed=6), shown(), tmp_path)
    with pytest.raises(CheckpointError) as of_data:
        run(visual, LORA, shown(COUNT + 1), tmp_path)

    assert of_recipe.value.code == "checkpoint_recipe"
    assert of_data.value.code == "checkpoint_data"


def features(count: int, *, seed: int) -> torch.Tensor:
    """Class tokens (1, count, 1, 64) in which eight sources are plain to see."""
    random = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(8, 64, generator=random)
    tokens = centres[torch.arange(count) % 8] + torch.randn(count, 64, generator=random)
    return tokens[:, None]


def kept(rows: Sequence[Row], tokens: torch.Tensor) -> train.Examples:
    return train.examples(rows, Kept(views=(View(tokens),)))


def test_random_labels_say_nothing_of_left_out_sources(visual: VisionTransformer) -> None:
    """Warning 2 of the method: whatever leaks the label shows here."""
    how = replace(FROZEN, optimise=replace(FROZEN.optimise, epochs=2, batch=64))
    found = []
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        is_ai = torch.rand(2400, generator=random) < 0.5
        examples = kept(rows_of(is_ai.tolist()), features(2400, seed=seed))
        keep, left = split(examples)
        model = start.make(visual, how)
        train.fit(model, examples, how, keep=keep, out=None)
        for mode in ("off", "mean", "mc"):
            scores = train.score_all(model, examples, left, mode=mode)
            found.append(metrics.auc(scores, is_ai[left].numpy()))

    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.05)  # 1,800 images: s.e. 0.014


def test_nothing_of_what_is_left_out_is_used(visual: VisionTransformer) -> None:
    is_ai = [index // 8 % 2 == 1 for index in range(400)]
    tokens = features(400, seed=0)
    first = kept(rows_of(is_ai), tokens)
    _, left = split(first)
    other = tokens.clone()
    other[left] = 9.0
    swapped = [made != (index in set(left.tolist())) for index, made in enumerate(is_ai)]

    one = run(visual, FROZEN, first)
    two = run(visual, FROZEN, kept(rows_of(swapped), other))

    # Weights of sources are of the whole set; those of the images that are kept do not change.
    assert_equal(one, two)


@pytest.mark.parametrize("hidden", [0, 8])
def test_the_head_is_fitted_before_the_first_step(visual: VisionTransformer, hidden: int) -> None:
    random = torch.Generator().manual_seed(3)
    is_ai = torch.arange(400) // 8 % 2 == 1
    tokens = torch.randn(400, 1, 64, generator=random) + is_ai[:, None, None] * 0.7
    tokens[:, 0, ::2] -= 1.4 * is_ai[:, None]
    examples = kept(rows_of(is_ai.tolist()), tokens)
    keep, left = split(examples)
    how = replace(FROZEN, model=replace(FROZEN.model, hidden=hidden), noise=recipe.Noise())
    model = start.make(visual, how)
    drawn = train.sampling.sampler(
        examples.is_ai, examples.weight, keep=keep, batch=32, seed=how.seed
    )

    found = start.survey(model, examples, World())
    start.begin(model, found, examples, keep=keep, sampling=drawn)

    scores = train.score_all(model, examples, left)
    assert metrics.auc(scores, is_ai[left].numpy()) > 0.85


@pytest.mark.parametrize(
    ("noise", "gates"),
    [
        pytest.param(recipe.Noise(), [0, 0, 0], id="none"),
        pytest.param(recipe.Noise(kind="learned", warm_up=4), [0, 0.5, 1], id="warm-up"),
        pytest.param(recipe.Noise(kind="learned", warm_up=0), [1, 1, 1], id="at-once"),
    ],
)
def test_the_gate_opens_over_the_warm_up(noise: recipe.Noise, gates: list[float]) -> None:
    assert [train.gate_at(step, noise) for step in (0, 2, 9)] == gates


def test_the_loss_is_the_sum_of_its_terms(visual: VisionTransformer) -> None:
    examples = shown(16)
    model = start.make(visual, LORA)
    y = examples.is_ai
    images = examples.inputs(torch.arange(16), epoch=None)

    noisy = train.loss_terms(model(images, gate=1.0, draws=2), y, LORA)
    without = train.loss_terms(model(images), y, LORA)

    loss, clean, pi, kl = noisy.tolist()
    assert loss == pytest.approx(pi + LORA.noise.lambda_0 * clean + LORA.noise.beta * kl)
    assert without.tolist() == pytest.approx([clean, clean, 0, 0])
