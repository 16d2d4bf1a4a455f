"""pinclip ablate: a plan is followed, resumed and reported, on drawn pictures and a tiny tower."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from PIL import Image

from pinclip import ablate, arguments, command, start
from pinclip.data.sets import open_set
from pinclip.evidence import arms, fitting, planted, splits
from pinclip.evidence.ablation import Result
from pinclip.evidence.fitting import Bench
from pinclip.evidence.records import Outcome, Plan, RecordsError, Run, Store
from pinclip.model import Prefix
from pinclip.recipe import Model, Recipe
from pinclip.runs import Tower

SIZE, WIDTH, LAYERS = 32, 64, 12
FEW = ["--arms", "A0,A5,A2,A2-grid,A3", "--seeds", "1", "--trials", "1", "--device", "cpu"]


@pytest.fixture(scope="session")
def tower() -> Tower:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        visual = VisionTransformer(
            image_size=SIZE,
            patch_size=16,
            width=WIDTH,
            layers=LAYERS,
            heads=4,
            mlp_ratio=2,
            output_dim=32,
            act_layer=QuickGELU,
        )
    return Tower(visual.requires_grad_(False).eval(), "tiny")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 drawn pictures of 24 sources in 3 folds; fakes are redder, some sources hardly so."""
    folder = tmp_path_factory.mktemp("set")
    random = np.random.default_rng(0)
    rows = []
    for source in range(24):
        label = ("ai", "real")[source % 2]
        (folder / "images" / f"s{source}").mkdir(parents=True)
        for number in range(10):
            file = f"s{source}/{number}.png"
            pixels = random.normal(120, 40, (SIZE, SIZE, 3))
            pixels[..., 0] += (6 * (source % 5) + 5) * (label == "ai")
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / file)
            rows.append([file, label, f"s{source}", f"g{source}", source // 2 % 3, "photo", file])
    with (folder / "manifest.csv").open("w", newline="") as table:
        columns = ["file", "label", "source", "group", "fold", "style", "sha256_of_original"]
        csv.writer(table).writerows([columns, *rows])
    return folder


@pytest.fixture(scope="session")
def class_tokens(images: Path, tower: Tower, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class tokens of all blocks, in the order of the set."""
    pixels = [
        np.asarray(Image.open(images / "images" / row.file)) / 127.5 - 1
        for row in open_set(images).rows
    ]
    batch = torch.from_numpy(np.stack(pixels)).float().permute(0, 3, 1, 2)
    how = Recipe(name="all", model=Model(blocks=tuple(range(1, LAYERS + 1))))
    path = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    np.save(path, start.make(tower.visual, how).prefix(batch).classes.numpy())
    return path


def run(argv: list[str], tower: Tower) -> int:
    return ablate.run(arguments.ablate().parse_args(argv), lambda: tower)


@pytest.fixture(scope="session")
def done(
    images: Path, class_tokens: Path, tower: Tower, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder in which the ablation was run."""
    out = tmp_path_factory.mktemp("ablation")
    argv = [str(images), "-o", str(out), "--class-tokens", str(class_tokens), *FEW]
    assert run(argv, tower) == 0
    return out


def result(folder: Path) -> Result:
    return msgspec.json.decode((folder / "ablation.json").read_bytes(), type=Result)


def runs(folder: Path) -> list[Run]:
    lines = (folder / "runs.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Run) for line in lines]


def test_every_arm_meets_every_source_once_and_the_rule_is_applied(done: Path) -> None:
    found = result(done)

    assert [line.name for line in found.lines] == [
        "A0", "A5", "A5 mean", "A5 mc", "A2", "A2-grid", "A3",
    ]  # fmt: skip
    assert (found.fake_sources, found.real_sources) == (12, 12)
    [verdict] = found.verdicts
    assert verdict.is_primary
    assert verdict.mean == "A3"
    assert found.incomplete == ()


def test_arms_learn_what_the_pictures_show(done: Path) -> None:
    for line in result(done).lines:
        assert line.m.low <= line.m.mean <= line.m.high
        assert line.area > 0.6, line.name


def test_trials_say_nothing_of_left_out_sources(done: Path) -> None:
    trials = [each for each in runs(done) if each.trial is not None]

    assert len(trials) == 3 * 5
    assert all(each.outcomes == () for each in trials)


def test_matched_noise_has_the_energy_of_the_methods_best_trial(done: Path) -> None:
    energy = {(each.split, each.arm, each.trial): each.energy for each in runs(done)}

    for split in "012":
        assert energy[split, "A2", None] == pytest.approx(energy[split, "A5", 0], rel=1e-4)
        assert energy[split, "A3", None] <= energy[split, "A5", 0] * 1.001
    assert all(value is None for (_, arm, _), value in energy.items() if arm == "A0")


def test_arms_differ_by_more_than_their_names(done: Path) -> None:
    thresholds = [
        each.outcomes[0].threshold
        for each in runs(done)
        if each.trial is None and each.split == "0"
    ]

    assert len(set(thresholds)) == len(thresholds)


def test_page_states_the_answer_the_intervals_and_the_rule(done: Path) -> None:
    text = (done / "ablation.md").read_text()

    [verdict] = result(done).verdicts
    assert f"**A5: {verdict.judgement.answer}**" in text
    assert "95 % interval" in text
    assert "both means at least one point" in " ".join(text.split())
    assert text.isascii()


def test_a_run_broken_off_goes_on_to_the_same_result(
    done: Path, images: Path, class_tokens: Path, tower: Tower, tmp_path: Path
) -> None:
    lines = (done / "runs.jsonl").read_bytes().splitlines(keepends=True)
    cut = b"".join(lines[:-2]) + lines[-2][:100]
    (tmp_path / "runs.jsonl").write_bytes(cut)
    (tmp_path / "plan.json").write_bytes((done / "plan.json").read_bytes())

    status = run(
        [str(images), "-o", str(tmp_path), "--class-tokens", str(class_tokens), *FEW], tower
    )

    again = [msgspec.structs.replace(each, seconds=0.0) for each in runs(tmp_path)]
    assert status == 0
    assert again == [msgspec.structs.replace(each, seconds=0.0) for each in runs(done)]


def test_report_runs_nothing(
    done: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("runs.jsonl", "plan.json"):
        (tmp_path / name).write_bytes((done / name).read_bytes())

    def no_tower() -> Tower:
        raise AssertionError("a report needs no tower")

    argv = [str(images), "-o", str(tmp_path), "--report", *FEW]
    status = ablate.run(arguments.ablate().parse_args(argv), no_tower)

    assert status == 0
    assert capsys.readouterr().out == (done / "ablation.md").read_text()


def test_arms_that_lack_runs_are_named_and_not_judged(
    done: Path, images: Path, tmp_path: Path
) -> None:
    kept = [each for each in runs(done) if (each.arm, each.split) != ("A3", "2")]
    (tmp_path / "runs.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in kept))
    (tmp_path / "plan.json").write_bytes((done / "plan.json").read_bytes())

    command.ablate([str(images), "-o", str(tmp_path), "--report", *FEW])

    assert result(tmp_path).incomplete == ("A3",)
    assert result(tmp_path).verdicts == ()
    assert "Begun and not complete: A3." in (tmp_path / "ablation.md").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trials", "2"], "another plan (trials differ)"),
        (["--arms", "A1"], "'A1' is no arm that runs frozen"),
        (["--splits", "9"], "'9' is no split of this set; there are 0, 1, 2"),
        (["--families"], "No generator family has 20 images"),
        (["--class-tokens", "nowhere.npy"], "nowhere.npy cannot be read"),
    ],
    ids=["plan", "arm", "split", "families", "tokens"],
)
def test_misuse_is_told_in_a_sentence(
    done: Path,
    images: Path,
    tower: Tower,
    more: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run([str(images), "-o", str(done), *FEW, *more], tower)

    assert status == 2
    assert said in capsys.readouterr().err


def test_class_tokens_of_another_set_are_refused(
    images: Path, tower: Tower, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "few.npy", np.zeros((3, LAYERS, WIDTH), np.float16))

    status = run(
        [str(images), "-o", str(tmp_path), "--class-tokens", str(tmp_path / "few.npy"), *FEW], tower
    )

    assert status == 2
    assert "expected (240, blocks, width)" in capsys.readouterr().err


def test_planted_shortcut_is_found_out_by_the_swap(
    images: Path, class_tokens: Path, tower: Tower, tmp_path: Path
) -> None:
    marked = np.load(class_tokens)
    marked[..., :8] += 3.0
    np.save(tmp_path / "marked.npy", marked)
    out = tmp_path / "out"

    status = run(
        [
            *(str(images), "-o", str(out), "--class-tokens", str(class_tokens), *FEW),
            *("--marked-tokens", str(tmp_path / "marked.npy"), "--planted", "grid_8"),
            *("--arms", "A0", "--splits", "0"),
        ],
        tower,
    )

    found = {line.name: line.m.mean for line in result(out).lines}
    assert status == 0
    assert found["A0"] > 0.95
    assert found["A0 off swapped"] < 0.5
    assert "## A planted shortcut" in (out / "ablation.md").read_text()


@pytest.mark.parametrize("name", ["A1", "A6-S2-11", "A8-jpeg", "A9-A5"])
def test_tuned_arms_train_through_the_tower(
    name: str, images: Path, tower: Tower, tmp_path: Path
) -> None:
    rows = open_set(images).rows[::4]
    split = splits.by_fold(rows)[0]
    arm = next(arm for arm in arms.ARMS if arm.name == name)
    bench = Bench(rows=rows, visual=tower.visual, inputs_for=drawn)
    setting = arms.trials(1)[0]
    how = arms.recipe_of(arm, arms.base("tuned"), setting, seed=0, scale=0.3)
    rank = msgspec.structs.replace(how.model.adapter, rank=4)
    few = msgspec.structs.replace(how.optimise, epochs=1, batch=8)
    how = msgspec.structs.replace(
        how, model=msgspec.structs.replace(how.model, adapter=rank), optimise=few
    )
    how = arms.noised(how, bank_size=4)

    found = fitting.fitted(bench, how, split.pool)

    state = found.model.trained_state()
    moved = [key for key in state if key.endswith((".up", ".core")) and state[key].abs().max() > 0]
    assert len(moved) == len(how.model.adapter.blocks)


def drawn(model: object) -> object:
    """Inputs that are random, the same for an image each time: images, or what the model keeps."""

    def inputs(indices: torch.Tensor, *, epoch: int | None) -> Prefix:
        batch = torch.stack(
            [
                torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(i))
                for i in indices.tolist()
            ]
        )
        return model.prefix(batch)  # type: ignore[attr-defined,no-any-return]

    return inputs


def test_store_refuses_a_line_that_is_no_run(tmp_path: Path) -> None:
    plan = Plan(stage="frozen", protocol="groups", data="d", base="b", trials=1)
    Store(tmp_path, plan)
    (tmp_path / "runs.jsonl").write_bytes(b'{"arm": 3}\n')

    with pytest.raises(RecordsError, match=r"runs.jsonl:1 is no run"):
        Store(tmp_path, plan)


def test_stores_of_two_processes_add_to_one_file(tmp_path: Path) -> None:
    plan = Plan(stage="frozen", protocol="groups", data="d", base="b", trials=1)
    one, other = Store(tmp_path, plan), Store(tmp_path, plan)
    for store, split in ((one, "0"), (other, "1")):
        store.add(scored(split))

    assert {run.split for run in one.tests()} == {"0", "1"}


def scored(split: str) -> Run:
    """A run of A0 on no source at all."""
    outcome = Outcome(
        mode="off", validation=0.5, threshold=0.0, fake={}, real={}, areas={}, recall_5={},
        recall_1={}, ece=0.0,
    )  # fmt: skip
    return Run(
        split=split, arm="A0", seed=0, setting={}, recipe="", validation=0.5, energy=None,
        seconds=0.0, outcomes=(outcome,),
    )  # fmt: skip


def test_shortcuts_that_can_be_asked_for_are_those_that_can_be_planted() -> None:
    assert tuple(planted.MARKS) == arguments.MARKS
