"""Which package may load what: read from fresh interpreters and from the built wheel."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "open_clip", "openvino", "litestar", "sqlalchemy", "PIL", "numpy", "redis", "rq")

MAY_LOAD = {
    "sdk": (),
    "sdk.wire": (),
    "sdk.commands.check": (),
    "sdk.commands.completion": (),
    "sdk.commands.mcp": (),
    "pinclip": (),
    "pinclip.cli": (),
    "pinclip.command": (),
    "worker.contract": (),
    "worker.guard": (),
    "worker.supervisor": (),
    "worker.decode_child": ("PIL",),
    "worker.declarations": (),
    "worker.main": ("redis", "rq", "PIL", "numpy"),
    "worker.predict": ("PIL", "numpy"),
    # numpy: advanced-alchemy looks whether it is there, and does without.
    "server.keys_command": (),
    "server.app": ("litestar", "sqlalchemy", "redis", "rq", "numpy"),
    "pinclip.detector": ("PIL", "numpy", "openvino"),
}


def _loaded_by(module: str) -> set[str]:
    code = (
        f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", MAY_LOAD)
def test_module_loads_only_what_it_is_for(module: str) -> None:
    loaded = _loaded_by(module) & set(HEAVY)

    assert loaded <= set(MAY_LOAD[module])


def test_sdk_loads_no_other_room() -> None:
    assert not _loaded_by("sdk") & {"server", "worker", "pinclip"}


def test_every_python_file_of_a_room_is_typed_and_says_what_it_owns() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for room in ("sdk", "server", "worker", "pinclip")
        for path in (ROOT / room).rglob("*.py")
        if path.name != "__init__.py" and not path.read_text().lstrip().startswith('"""')
    ]

    assert bare == []


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils", "helpers", "common", "core", "base", "manager", "misc"}

    named = {
        path.stem
        for room in ("sdk", "server", "worker", "pinclip")
        for path in (ROOT / room).rglob("*")
    }

    assert not named & vague


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_wheel_requires_only_httpx_and_msgspec_without_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())

    bare = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]

    assert sorted(r.split("<")[0].split(">")[0].strip() for r in bare) == ["httpx", "msgspec"]


def test_wheel_holds_the_four_rooms_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "pinclip",
        "sdk",
        "server",
        "worker",
    }


def test_commands_of_the_project_file_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    for target in project["entry-points"]["pinclip.commands"].values():
        module, _, name = target.partition(":")
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
        assert f"def {name}(" in source
