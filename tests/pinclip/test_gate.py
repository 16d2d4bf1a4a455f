"""pinclip.gate: what refuses new weights, what only warns, and what the command says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from pinclip import gate, weights
from pinclip.gate import Case, CasesError, Finding, compare, read_cases
from pinclip.weights import Meta, Point, SliceFacts, SourceRow

Change = Callable[[Meta], Meta]


@pytest.fixture(scope="session")
def meta(folder: Path) -> Meta:
    return msgspec.json.decode((folder / "meta.json").read_bytes(), type=Meta)


def with_photo(meta: Meta, **changed: object) -> Meta:
    facts = msgspec.structs.replace(meta.slices["photo"], **changed)
    return with_slices(meta, {**meta.slices, "photo": facts})


def with_point(meta: Meta, **changed: object) -> Meta:
    points = meta.slices["photo"].points
    point = msgspec.structs.replace(points["balanced"], **changed)
    return with_photo(meta, points={**points, "balanced": point})


def with_slices(meta: Meta, slices: dict[str, SliceFacts]) -> Meta:
    return msgspec.structs.replace(
        meta, slices=slices, calibration_id=weights.calibration_id(slices)
    )


def with_source(meta: Meta, **row: object) -> Meta:
    source = SourceRow(
        **{"source": "x", "label": "real", "slice": "photo", "n": 40, "abstained": 0, **row}
    )
    return msgspec.structs.replace(meta, sources=(*meta.sources, source))


def limits(meta: Meta) -> Point:
    return meta.slices["photo"].points["balanced"]


def found(old: Meta, new: Meta) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.refuses) for finding in compare(old, new)]


def test_compare_finds_nothing_where_nothing_changed(meta: Meta) -> None:
    assert found(meta, meta) == []


def test_compare_refuses_false_alarms_above_the_interval_and_says_both_rates(meta: Meta) -> None:
    ci95 = limits(meta).ci95
    assert ci95 is not None
    new = with_point(meta, false_alarm_rate=ci95[1] + 0.001)

    [finding] = compare(meta, new)

    assert (finding.kind, finding.refuses) == ("false_alarms", True)
    assert "photo, balanced" in finding.sentence
    assert f"{ci95[1] + 0.001:.2%}" in finding.sentence
    assert f"{ci95[1]:.2%}" in finding.sentence


def test_compare_lets_false_alarms_pass_that_the_interval_allows(meta: Meta) -> None:
    ci95 = limits(meta).ci95
    assert ci95 is not None

    assert found(meta, with_point(meta, false_alarm_rate=ci95[1])) == []


@pytest.mark.parametrize(
    ("fall", "expected"), [(0.009, []), (0.011, [("auc", True)]), (-0.01, [])], ids=str
)
def test_compare_refuses_an_auc_that_falls_too_far(
    meta: Meta, fall: float, expected: list[tuple[str, bool]]
) -> None:
    auc = meta.slices["photo"].auc
    assert auc is not None

    assert found(meta, with_photo(meta, auc=auc - fall)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: with_point(m, recall=0.01), ("recall", False)),
        (
            lambda m: with_point(m, threshold=None, false_alarm_rate=None, ci95=None),
            ("threshold", False),
        ),
        (lambda m: with_source(m, flagged=5), ("source", False)),
        (
            lambda m: with_slices(m, {k: v for k, v in m.slices.items() if k != "photo"}),
            ("slice", False),
        ),
        (
            lambda m: msgspec.structs.replace(
                m, data=msgspec.structs.replace(m.data, sha256="another")
            ),
            ("data", False),
        ),
    ],
    ids=["recall", "threshold lost", "source accused", "slice gone", "other data"],
)
def test_compare_warns_of_what_a_person_has_to_judge(
    meta: Meta, change: Change, expected: tuple[str, bool]
) -> None:
    assert found(meta, change(meta)) == [expected]


def test_compare_names_only_real_sources_that_are_large_enough_and_newly_accused(
    meta: Meta,
) -> None:
    for row in (
        {"n": 29, "flagged": 29},
        {"flagged": 4},
        {"flagged": 30, "label": "ai"},
    ):
        assert found(meta, with_source(meta, **row)) == []
    assert found(with_source(meta, flagged=20), with_source(meta, flagged=30)) == []


@pytest.mark.parametrize(
    ("label", "expected", "verdict", "is_right"),
    [
        ("real", "", "likely_ai", False),
        ("real", "", "inconclusive", True),
        ("real", "no_sign_of_ai", "inconclusive", False),
        ("ai", "", "likely_ai", True),
        ("ai", "", "inconclusive", False),
        ("ai", "inconclusive", "inconclusive", True),
    ],
)
def test_case_is_right_as_confirmed(
    label: str, expected: str, verdict: str, is_right: bool
) -> None:
    case = msgspec.convert({"file": "x", "label": label, "verdict": expected}, Case)

    assert case.is_right(verdict) == is_right


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\na.png,fake\n", "label (ai or real)"),
        ("name,label\na.png,ai\n", "columns file, label"),
        ("file,label,verdict\na.png,ai,guilty\n", "likely_ai, inconclusive, no_sign_of_ai"),
        ("file,label\n", "names no case"),
    ],
    ids=["label", "column", "verdict", "empty"],
)
def test_read_cases_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text)

    with pytest.raises(CasesError) as caught:
        read_cases(path)

    assert said in str(caught.value)


def save(meta: Meta, target: Path, folder: Path, *, shift: float = 0.0) -> Path:
    """Write weights with this meta.json; `shift` is added to every score's logit."""
    meta = msgspec.structs.replace(meta, int8=None)
    target.mkdir()
    (target / "base.safetensors").symlink_to(folder / "base.safetensors")
    if shift:
        head = load_file(folder / "head.safetensors")
        head["bias"][0] += np.float32(shift)
        save_file(head, target / "head.safetensors")
        sha256 = weights.digest(target / "head.safetensors")
        meta = msgspec.structs.replace(
            meta, id="shifted", head=msgspec.structs.replace(meta.head, sha256=sha256)
        )
    else:
        shutil.copy(folder / "head.safetensors", target)
    (target / "meta.json").write_bytes(msgspec.json.encode(meta))
    return target


def test_gate_refuses_by_exit_status_and_prints_json(
    meta: Meta, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = save(with_photo(meta, auc=0.5), tmp_path / "worse", folder)

    status = gate.main([str(folder), str(worse), "--json"])

    report = msgspec.json.decode(capsys.readouterr().out, type=gate.Report)
    assert status == gate.REFUSED == 4
    assert report.is_refused
    assert [finding.kind for finding in report.findings] == ["auc"]
    assert gate.main([str(worse), str(folder)]) == 0
    assert "may take its place" in capsys.readouterr().out


def test_gate_refuses_weights_that_are_wrong_on_a_case_that_the_old_ones_have_right(
    meta: Meta,
    folder: Path,
    tmp_path: Path,
    pictures: list[Image.Image],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, picture in zip("ab", pictures, strict=False):
        picture.save(tmp_path / f"{name}.png")
    accuser = save(meta, tmp_path / "accuser", folder, shift=40.0)
    cases = tmp_path / "cases.csv"
    cases.write_text("file,label,verdict\na.png,real,\nb.png,real,no_sign_of_ai\n")
    names = [str(folder), str(accuser)]
    asked = ["--cases", str(cases), "--images", str(tmp_path), "--json"]

    status = gate.main([*names, *asked])
    forward = msgspec.json.decode(capsys.readouterr().out, type=gate.Report)
    status_back = gate.main([*reversed(names), *asked])
    capsys.readouterr()

    assert status == gate.REFUSED
    assert forward.cases == 2
    assert {finding.where for finding in forward.findings if finding.refuses} >= {"a.png"}
    assert all(finding.new == "likely_ai" for finding in forward.findings)
    assert status_back == 0


def test_gate_tells_misuse_apart_from_refusal(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "cases.csv"
    cases.write_text("file,label\nmissing.png,real\n")
    both = [str(folder), str(folder)]

    assert gate.main([*both, "--cases", str(cases)]) == 2
    assert "--images belong together" in capsys.readouterr().err
    assert gate.main([*both, "--cases", str(cases), "--images", str(tmp_path)]) == 2
    assert "missing.png does not exist" in capsys.readouterr().err
    assert gate.main([str(folder), str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("pinclip: ")


def test_a_refusal_is_told_before_a_warning(meta: Meta) -> None:
    findings = tuple(
        Finding(kind="source", refuses=refuses, where="", old=None, new=None, sentence=sentence)
        for refuses, sentence in ((False, "later"), (True, "first"))
    )

    text = gate._text(gate.Report(old="a", new="b", is_refused=True, cases=0, findings=findings))

    assert text.splitlines()[0] == "refused: first"
