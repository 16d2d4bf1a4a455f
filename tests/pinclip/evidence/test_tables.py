"""Tables: figures that can be counted by hand, thresholds of other folds, paired comparison."""

from __future__ import annotations

import numpy as np
import pytest

from pinclip import calibrate
from pinclip.data.manifest import Row
from pinclip.evidence import answers, tables
from pinclip.evidence.bench import Bench
from pinclip.evidence.scores import Tool


def row(k: int, label: str, source: str, **more) -> Row:
    known = {"group": f"{source}-{k % 7}", "fold": k % 5, "style": "photo", "generator": ""}
    known |= more
    return Row(file=f"{k}.png", label=label, source=source, sha256_of_original="", **known)


def tool(score, name: str = "tool") -> Tool:
    return Tool(
        name=name,
        score=np.array(score, float),
        kind="logit",
        cut=0.0,
        origin="drawn",
        seen="held out",
    )


def measured(rows, *tools: Tool, count: int = 200):
    bench = Bench(tuple(rows))
    unscored = {one.name: 0 for one in tools}
    return tables.measure(tools, bench, unscored=unscored, count=count, seed=0)


@pytest.fixture(scope="module")
def mixture():
    """600 images of 4 real and 3 AI sources, and scores that part them partly."""
    rng = np.random.default_rng(0)
    rows = [row(k, "real", f"camera{k % 4}") for k in range(360)]
    rows += [row(k, "ai", f"site{k % 3}", generator=("flux-dev", "stylegan2", "")[k % 3])
             for k in range(360, 600)]  # fmt: skip
    score = rng.normal(size=600) + np.array([1.5 * (one.label == "ai") for one in rows])
    return rows, score


def test_counts_and_rates_of_a_source_are_those_of_its_images(mixture):
    rows, score = mixture
    (made,), _ = measured(rows, tool(score))

    lines = {line.name: line for line in made.tables["source"]}

    where = np.array([one.source == "camera1" for one in rows])
    line = lines["camera1"]
    assert (line.real, line.ai, line.groups, line.against) == (90, 0, 7, "all AI images")
    assert line.figures["real_recall"].value == pytest.approx((score[where] < 0).mean(), abs=1e-5)
    assert "ai_recall" not in line.figures
    assert "tpr_at_5" not in line.figures
    assert lines["site2"].against == "all real images"


def test_auroc_of_a_generator_is_against_all_real_images(mixture):
    rows, score = mixture
    (made,), _ = measured(rows, tool(score))

    line = next(one for one in made.tables["generator"] if one.name == "flux-dev")

    ai = score[[one.generator == "flux-dev" for one in rows]]
    real = score[[one.label == "real" for one in rows]]
    pairs = (ai[:, None] > real).mean()
    assert line.figures["auroc"].value == pytest.approx(pairs, abs=1e-5)
    assert line.ai == 80
    assert {one.name for one in made.tables["generator"]} == {"flux-dev", "stylegan2", "not named"}


def test_intervals_hold_the_figure_and_groups_widen_what_they_share():
    rng = np.random.default_rng(1)
    rows, score = [], []
    for group in range(40):
        label, luck = ("ai", "real")[group % 2], rng.normal()
        for _ in range(10):
            at = len(rows)
            rows.append(row(at, label, f"s{group}", group=f"g{group}", fold=group // 2 % 5))
            score.append(luck + (label == "ai") + 0.05 * rng.normal())
    (made,), _ = measured(rows, tool(score), count=500)

    found = made.overall.figures["auroc"]

    assert found.groups[0] < found.images[0] < found.value < found.images[1] < found.groups[1]
    # Twenty groups a class: about 4 sqrt(A (1 - A) / 20); were images drawn, a third of that.
    assert found.groups[1] - found.groups[0] > 0.2
    assert found.images[1] - found.images[0] < 0.05


def test_both_averages_called_macc_are_told_apart():
    # Two benchmark subsets of both classes. A: 8 of 10 real, 6 of 10 AI right. B: 10 and 2 of 10.
    right = {("A", "real"): 8, ("A", "ai"): 6, ("B", "real"): 10, ("B", "ai"): 2}
    rows, score = [], []
    for (source, label), count in right.items():
        for k in range(10):
            rows.append(row(len(rows), label, source, generator="x" if label == "ai" else ""))
            side = 1 if label == "ai" else -1
            score.append(side if k < count else -side)

    (made,), _ = measured(rows, tool(score))

    assert made.macro["macc_subsets"].value == pytest.approx((0.7 + 0.6) / 2, abs=1e-5)
    assert made.macro["macc_columns"].value == pytest.approx((0.9 + 0.6 + 0.2) / 3, abs=1e-5)


def test_generators_without_real_images_are_paired_with_all_of_them():
    # 9 of 10 real right; generator a: 5 of 10, generator b: 3 of 30.
    rows, score = [], []
    for source, label, count, n in (("r", "real", 9, 10), ("a", "ai", 5, 10), ("b", "ai", 3, 30)):
        for k in range(n):
            rows.append(row(len(rows), label, source, generator=source if label == "ai" else ""))
            side = 1 if label == "ai" else -1
            score.append(side if k < count else -side)

    (made,), _ = measured(rows, tool(score))

    assert made.macro["macc_subsets"].value == pytest.approx((0.7 + 0.5) / 2, abs=1e-5)
    assert made.macro["macc_columns"].value == pytest.approx((0.9 + 0.5 + 0.1) / 3, abs=1e-5)


def test_images_are_flagged_by_the_threshold_of_the_other_folds(mixture):
    rows, score = mixture
    (made,), _ = measured(rows, tool(score))
    bench = Bench(tuple(rows))
    held = calibrate.Held(
        logit=score, is_ai=bench.is_ai, fold=bench.fold, group=bench.group, weight=bench.weight
    )

    flagged, _ = calibrate.cross_fitted(held, 0.03)

    figures = made.overall.figures
    assert figures["ai_flagged"].value == pytest.approx(flagged[bench.is_ai].mean(), abs=1e-5)
    assert figures["real_flagged"].value == pytest.approx(flagged[~bench.is_ai].mean(), abs=1e-5)


def test_probability_of_an_image_does_not_depend_on_its_own_fold(mixture):
    rows, score = mixture
    bench = Bench(tuple(rows))
    is_spoilt = (bench.fold == 2) & (np.arange(600) % 2 == 0)
    spoilt = np.where(is_spoilt, -5 * score, score)

    before, after = (answers.probabilities(one, bench) for one in (score, spoilt))

    kept = (bench.fold == 2) & ~is_spoilt
    assert (before[kept] == after[kept]).all()
    assert (before[bench.fold != 2] != after[bench.fold != 2]).all()


def test_the_calibration_error_is_that_of_the_published_calibration(mixture):
    rows, score = mixture
    (made,), _ = measured(rows, tool(score))
    bench = Bench(tuple(rows))
    held = calibrate.Held(
        logit=score, is_ai=bench.is_ai, fold=bench.fold, group=bench.group, weight=bench.weight
    )

    assert made.overall.figures["ece"].value == pytest.approx(
        calibrate.calibration(held).ece, abs=1e-3
    )


def test_a_tool_does_not_differ_from_itself_and_a_better_one_wins(mixture):
    rows, score = mixture
    better = score + np.array([2.0 * (one.label == "ai") for one in rows])

    _, (same, worse) = measured(
        rows, tool(better, "first"), tool(better, "same"), tool(score, "worse")
    )

    assert same.differences["auroc"].value == 0
    assert same.differences["auroc"].groups is None
    assert worse.differences["auroc"].groups[0] > 0
    assert (worse.second, worse.wins) == ("worse", 1.0)


def test_a_perfect_small_source_is_not_said_to_be_certain():
    rows = [row(k, "real", "camera") for k in range(50)]
    rows += [row(k, "ai", "site", group="one", generator="x") for k in range(50, 60)]
    score = [-1.0] * 50 + [1.0] * 10

    (made,), _ = measured(rows, tool(score))

    line = next(one for one in made.tables["source"] if one.name == "site")
    assert line.figures["ai_recall"].value == 1
    assert line.figures["ai_recall"].images == pytest.approx((0.69150, 1), abs=1e-4)
    assert line.figures["ai_recall"].groups[0] < 0.05  # one group: no more than one image
    assert line.figures["auroc"].groups is None


def test_portraits_stand_beside_photos():
    styles = ["photo", "portrait", "painting", "meme"] * 10
    rows = [row(k, ("real", "ai")[k // 4 % 2], "s", style=style) for k, style in enumerate(styles)]

    (made,), _ = measured(rows, tool(np.linspace(-1, 1, 40)))

    sizes = {line.name: line.real + line.ai for line in made.tables["slice"]}
    assert sizes == {"photo": 20, "illustration": 10, "portrait": 10}


def test_without_folds_nothing_is_calibrated():
    rows = [row(k, ("real", "ai")[k % 2], "s", fold=0) for k in range(40)]

    (made,), _ = measured(rows, tool(np.linspace(-1, 1, 40)))

    assert made.reliability == []
    assert {"ece", "ai_flagged"}.isdisjoint(made.overall.figures)
    assert made.mistakes[0].probability is None


def test_the_worst_mistakes_come_first_and_at_most_two_of_a_source(mixture):
    rows, score = mixture
    (made,), _ = measured(rows, tool(score))

    real = [one for one in made.mistakes if one.label == "real"]

    assert [one.score for one in real] == sorted((one.score for one in real), reverse=True)
    highest = max(s for s, one in zip(score, rows, strict=True) if one.label == "real")
    assert real[0].score == pytest.approx(highest, abs=1e-5)
    assert max(sum(one.source == s for one in real) for s in {one.source for one in real}) == 2
    assert all(one.score < 0 for one in made.mistakes if one.label == "ai")


def test_the_curve_rises_from_0_to_1(mixture):
    rows, score = mixture
    (made,), _ = measured(rows, tool(score))

    found = made.roc.found

    assert found == sorted(found)
    assert (made.roc.false_alarms[0], made.roc.false_alarms[-1], found[-1]) == (0, 1, 1)
    at = made.roc.false_alarms.index(0.1)
    real = np.sort(score[[one.label == "real" for one in rows]])[::-1]
    ai = score[[one.label == "ai" for one in rows]]
    assert found[at] == pytest.approx((ai > real[36]).mean(), abs=0.01)
