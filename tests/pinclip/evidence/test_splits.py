"""pinclip.evidence.splits: nothing of what is left out is ever trained or validated on."""

from __future__ import annotations

import numpy as np
import pytest

from pinclip.data.manifest import Row
from pinclip.evidence.splits import SplitError, by_family, by_fold, named, validation_of

FAMILIES = ("stylegan2", "sd-1.5", "flux-dev", "")


def rows(*, folds: int = 4) -> tuple[Row, ...]:
    """120 fakes of three families and of nobody's, 120 real images; two labels in some groups."""
    return tuple(
        Row(
            file=f"{label}/{i}.png",
            label=label,
            source=f"{label}-{i // 6}",
            group=f"g-{i // 6}" if i < 12 else f"{label}-{i // 6}",
            fold=i // 6 % folds,
            style="photo",
            sha256_of_original=str(i),
            generator=FAMILIES[i // 6 % 5 % 4] if label == "ai" else "",
        )
        for label in ("ai", "real")
        for i in range(120)
    )


def groups(of: np.ndarray) -> set[str]:
    return {row.group for row, is_in in zip(rows(), of, strict=True) if is_in}


@pytest.mark.parametrize("make", [by_fold, by_family])
def test_left_out_groups_are_in_no_pool(make: object) -> None:
    for split in make(rows()):  # type: ignore[operator]
        assert not (split.test & split.pool).any()
        assert not groups(split.test) & groups(split.pool)


def test_every_image_is_left_out_once_by_fold() -> None:
    assert (np.sum([split.test for split in by_fold(rows())], axis=0) == 1).all()


def test_a_family_is_left_out_whole_and_nobodys_images_never() -> None:
    splits = by_family(rows())
    generator = np.array([row.generator for row in rows()])
    is_ai = np.array([row.label == "ai" for row in rows()])

    assert [split.name for split in splits] == ["flow_2024", "gan", "latent_diffusion_2022"]
    for split, name in zip(splits, ("flux-dev", "stylegan2", "sd-1.5"), strict=True):
        assert set(generator[split.test & is_ai]) == {name}
        assert name not in generator[split.pool]
        assert (split.test & ~is_ai).any()


def test_validation_turns_through_the_folds_of_the_pool_with_the_seed() -> None:
    fold = np.array([row.fold for row in rows()])

    for number, split in enumerate(by_fold(rows())):
        used = [np.unique(fold[validation_of(split, rows(), seed=seed)]) for seed in range(3)]

        assert sorted(int(k) for folds in used for k in folds) == [
            k for k in range(4) if k != number
        ]


def test_validation_is_part_of_the_pool() -> None:
    for split in by_family(rows()):
        validation = validation_of(split, rows(), seed=1)

        assert validation.any()
        assert (split.pool | ~validation).all()


def test_two_folds_are_too_few_to_train_validate_and_test() -> None:
    split = by_fold(rows(folds=2))[0]

    with pytest.raises(SplitError, match="give the set more folds"):
        validation_of(split, rows(folds=2), seed=0)


def test_named_says_which_splits_there_are() -> None:
    assert [split.name for split in named(by_fold(rows()), "2,0")] == ["2", "0"]
    with pytest.raises(SplitError, match="there are 0, 1, 2, 3"):
        named(by_fold(rows()), "7")
    with pytest.raises(SplitError, match="No generator family has 20 images"):
        named([], None)
