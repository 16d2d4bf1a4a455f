"""pinclip.evidence.arms: each arm changes what method 3 says, and no arm is tuned better."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from pinclip.evidence import arms
from pinclip.evidence.arms import ARMS, COMPARED, RANGES, Arm, ArmError, choose, recipe_of, trials
from pinclip.plan import plan
from pinclip.recipe import Recipe

SETTING = trials(8)[1]
BY_NAME = {arm.name: arm for arm in ARMS}


def recipe(name: str, *, stage: arms.Stage = "frozen", scale: float | None = 0.25) -> Recipe:
    return recipe_of(BY_NAME[name], arms.base(stage), SETTING, seed=3, scale=scale)


@pytest.mark.parametrize(
    ("arm", "stage"),
    [(arm, stage) for arm in ARMS for stage in arm.stages],
    ids=lambda value: value.name if isinstance(value, Arm) else value,
)
def test_every_arm_fits_the_tower(arm: Arm, stage: arms.Stage) -> None:
    how = recipe_of(arm, arms.base(stage), SETTING, seed=0, scale=0.25)

    plan(how, layers=12, width=768, embed=512, has_bank=True)


@pytest.mark.parametrize(
    "arm", [arm for arm in ARMS if "frozen" in arm.stages], ids=lambda arm: arm.name
)
def test_a_frozen_arm_asks_for_class_tokens_alone(arm: Arm) -> None:
    how = recipe_of(arm, arms.base("frozen"), SETTING, seed=0, scale=0.25)

    found = plan(how, layers=12, width=768, embed=512, has_bank=True)

    assert found.cut == found.last == 12
    assert found.prefix_blocks == found.reads


def test_method_and_its_opponents_differ_in_the_noise_alone() -> None:
    for learned, gaussians, mean in COMPARED:
        own = recipe(learned)
        for name in (*gaussians, mean):
            assert msgspec.structs.replace(recipe(name), noise=own.noise) == own


def test_matched_noise_has_the_energy_that_it_is_given() -> None:
    assert recipe("A2").noise.kind == "gaussian"
    assert recipe("A2").noise.sigma_0 == 0.25
    assert recipe("A3").noise.kind == "mean"
    assert recipe("A3").noise.mean_limit == 0.25
    assert recipe("A5").noise.sigma_0 == SETTING["sigma_0"]


def test_matched_arm_is_refused_without_what_it_is_matched_to() -> None:
    with pytest.raises(ArmError, match="A2 is matched to A5"):
        recipe("A2", scale=None)
    with pytest.raises(ArmError, match="name A5 too"):
        choose("A0,A2", "frozen")


def test_grid_arm_takes_each_of_its_three_points_in_eight_trials() -> None:
    arm = BY_NAME["A2-grid"]

    tried = {recipe_of(arm, arms.base("frozen"), each, seed=0).noise.sigma_0 for each in trials(8)}

    assert tried == set(arms.GRID)


def test_variants_of_the_method_are_as_the_plan_says() -> None:
    assert recipe("A4").noise.bank_size == 2
    assert recipe("A5").noise.bank_size == 64
    assert recipe("A4-VPN").noise.sees_label
    assert recipe("A4-adv").noise.adversarial
    assert recipe("A0", stage="tuned").model.adapter.kind == "none"
    assert recipe("A1", stage="tuned").model.adapter.kind == "lora"
    assert recipe("A9", stage="tuned").model.adapter.kind == "orthogonal"
    assert recipe("A7").model.blocks == (9, 10, 11, 12)
    assert recipe("A6-S2-8", stage="tuned").noise.block == 8


def test_augmentation_ladder_only_ever_adds() -> None:
    rungs = [
        recipe(f"A8-{name}", stage="tuned").augment for name in ("flip", "jpeg", "resize", "all")
    ]
    names = ("flip", "crop", "blur", "recompress", "noise", "colour", "mask")

    on = [{name for name in names if getattr(rung, name) > 0} for rung in rungs]

    assert all(fewer < more for fewer, more in pairwise(on))


def test_trials_are_the_same_each_time_and_stay_in_their_ranges() -> None:
    assert trials(8) == trials(8)
    assert trials(5) == trials(8)[:5]
    for setting in trials(8):
        assert all(low <= setting[name] <= high for name, (low, high) in RANGES.items())


def test_choose_puts_matched_arms_after_theirs() -> None:
    assert [arm.name for arm in choose("A3,A2,A0,A5", "frozen")] == ["A0", "A5", "A3", "A2"]


@pytest.mark.parametrize(
    ("names", "said"), [("A1", "Others need --tuned"), ("A99", "'A99' is no arm")]
)
def test_choose_says_which_arms_there_are(names: str, said: str) -> None:
    with pytest.raises(ArmError, match=said):
        choose(names, "frozen")


def test_tuned_arms_tune_the_blocks_that_are_asked_for() -> None:
    how = recipe_of(BY_NAME["A9-A5"], arms.base("tuned", (12,)), SETTING, seed=0)

    assert how.model.adapter.blocks == (12,)
    assert arms.base("tuned").model.adapter.blocks == (9, 10, 11, 12)
