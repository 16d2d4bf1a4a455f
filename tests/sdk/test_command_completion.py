"""`pinclip completion`: what a shell offers is what the commands take."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sdk.commands import batch, check, completion, wait, webhook
from sdk.commands.exits import Exit

COMMANDS = {
    "batch": batch.main,
    "check": check.main,
    "completion": completion.main,
    "foreign": None,
    "wait": wait.main,
    "webhook": webhook.main,
}


def offered(tmp_path: Path, *words: str, begun: str = "") -> set[str]:
    """Return what bash offers after these words, where the last has begun so."""
    script = tmp_path / "pinclip.bash"
    script.write_text(completion.script("bash", COMMANDS))
    lines = f"""
        . {script}
        COMP_WORDS=({" ".join(words)} "{begun}")
        COMP_CWORD={len(words)}
        $(complete -p pinclip | sed -E 's/.* -F ([^ ]+) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", lines], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_offers_every_command_one_that_cannot_be_looked_into_too(tmp_path: Path) -> None:
    assert offered(tmp_path, "pinclip") == set(COMMANDS)


def test_bash_offers_the_options_and_values_of_a_command(tmp_path: Path) -> None:
    assert {"--json", "--operating-point", "--wait"} <= offered(
        tmp_path, "pinclip", "check", begun="--"
    )
    assert offered(tmp_path, "pinclip", "check", "--operating-point") == {
        "strict",
        "balanced",
        "sensitive",
    }
    assert offered(tmp_path, "pinclip", "completion") == set(completion.SHELLS)


def test_bash_offers_the_verbs_of_a_command_and_their_options(tmp_path: Path) -> None:
    assert offered(tmp_path, "pinclip", "webhook") == {"verify"}
    assert "--tolerance" in offered(tmp_path, "pinclip", "webhook", "verify", begun="--")


def test_bash_offers_files_where_a_command_takes_them(tmp_path: Path) -> None:
    (tmp_path / "list.csv").touch()

    assert offered(tmp_path, "pinclip", "batch", begun="li") == {"list.csv"}
    assert offered(tmp_path, "pinclip", "wait", begun="li") == set()


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_script_of_each_shell_can_be_read_by_it(tmp_path: Path, shell: str) -> None:
    script = tmp_path / "script"
    script.write_text(completion.script(shell, COMMANDS))

    assert all(name in script.read_text() for name in COMMANDS)
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True)


def test_loaded_looks_into_our_own_commands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    (own,) = entry_points(group=completion.GROUP, name="check")
    (foreign,) = entry_points(group="console_scripts", name="pytest")

    command = completion.loaded(own)
    assert command is not None
    parser = completion.parser_of(command)
    assert parser is not None
    assert parser.prog == "pinclip check"
    assert completion.loaded(foreign) is None
    assert capsys.readouterr() == ("", "")


def test_parser_of_leaves_argparse_as_it_was() -> None:
    completion.parser_of(check.main)

    with pytest.raises(SystemExit) as caught:
        check.main([])
    assert caught.value.code == Exit.USAGE


def test_completion_refuses_a_shell_it_does_not_know() -> None:
    with pytest.raises(SystemExit) as caught:
        completion.main(["powershell"])

    assert caught.value.code == Exit.USAGE
