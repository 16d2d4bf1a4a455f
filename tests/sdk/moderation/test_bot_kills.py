"""A bot that is killed at random moments acts once on each post, and can take all of it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bot_kills import measured


@pytest.mark.slow
def test_killed_bot_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, posts=30, kills=4, seed=2)

    assert found["kills"] == 4
    wrong = ("acted on twice", "not acted on", "acted on without reason", "without a way back")
    assert {what: found[what] for what in wrong} == dict.fromkeys(wrong, 0)
