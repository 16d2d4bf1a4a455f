"""pinclip.probe: what is chosen on data is not reported on it, and what is fitted is what ships."""

from __future__ import annotations

import numpy as np
import pytest

from pinclip import probe
from pinclip.data import SLICES, Row
from pinclip.probe import Question, Setting

RANDOM = np.random.default_rng(2)
N, D = 600, 12
FOLD = np.arange(N) % 5
CLASSES = (np.arange(N) // 5) % 2
FEATURES = RANDOM.normal(size=(N, D)).astype(np.float32)
FEATURES[:, 0] += 1.5 * CLASSES
FEATURES[:, 1] *= 40
QUESTION = Question(classes=CLASSES, weight=np.ones(N))
EVERYTHING = np.ones(N, bool)


@pytest.mark.parametrize("is_scaled", [False, True])
def test_fit_gives_a_head_of_raw_features(is_scaled: bool) -> None:
    head = probe.fit(FEATURES, QUESTION, Setting(is_scaled, 1.0), EVERYTHING)

    logits = head.logits(FEATURES)
    assert logits.shape == (N, 2)
    assert (logits[:, 0] == 0).all()
    assert ((logits[:, 1] > 0) == CLASSES).mean() > 0.7


def test_fit_gives_a_row_for_each_of_many_classes() -> None:
    classes = np.arange(N) % 4
    features = FEATURES + 3 * np.eye(D, dtype=np.float32)[classes]

    head = probe.fit(
        features, Question(classes=classes, weight=np.ones(N)), Setting(True, 1.0), EVERYTHING
    )

    assert head.weight.shape == (4, D)
    assert (head.logits(features).argmax(axis=1) == classes).mean() > 0.8


def test_fit_does_not_see_images_left_out_or_without_weight() -> None:
    weight = np.where(np.arange(N) < 100, 0.0, 1.0)
    where = np.arange(N) < 500
    spoilt = FEATURES.copy()
    spoilt[:100] = spoilt[500:] = 1e6

    seen = probe.fit(FEATURES, Question(classes=CLASSES, weight=weight), Setting(True, 1.0), where)
    same = probe.fit(spoilt, Question(classes=CLASSES, weight=weight), Setting(True, 1.0), where)

    np.testing.assert_array_equal(seen.weight, same.weight)


def test_answer_scores_a_fold_without_having_seen_it() -> None:
    settings = (Setting(True, 0.01), Setting(True, 1.0))
    answer = probe.answer(FEATURES, FOLD, QUESTION, settings)

    spoilt = Question(
        classes=np.where(FOLD == 2, 1 - CLASSES, CLASSES), weight=np.ones(N)
    )  # fold 2 says the opposite
    other = probe.answer(FEATURES, FOLD, spoilt, settings)

    np.testing.assert_array_equal(answer.held_out[FOLD == 2], other.held_out[FOLD == 2])
    assert (answer.held_out[FOLD == 1] != other.held_out[FOLD == 1]).any()


def test_answer_knows_nothing_when_labels_are_random() -> None:
    labels = np.random.default_rng(5).integers(0, 2, N)

    answer = probe.answer(
        FEATURES, FOLD, Question(classes=labels, weight=np.ones(N)), (Setting(True, 0.1),)
    )

    right = ((answer.held_out[:, 1] > 0) == labels).mean()
    assert 0.4 < right < 0.6


def rows(*styles: tuple[str, str]) -> list[Row]:
    return [
        Row(
            file=f"{i}.jpg",
            label=label,
            source=f"s{i}",
            group="g",
            fold=0,
            style=style,
            sha256_of_original="",
        )
        for i, (label, style) in enumerate(styles)
    ]


def test_slice_question_asks_only_real_images_that_are_examples() -> None:
    found = probe.slice_question(
        rows(("real", "chart"), ("ai", "chart"), ("real", "meme"), ("real", "game"))
    )

    assert (found.weight > 0).tolist() == [True, False, False, True]
    assert [SLICES[i] for i in found.classes[[0, 3]]] == ["screenshot", "cgi"]
