"""The OpenAPI document is true of a running server: schemathesis tries it and finds nothing."""

from __future__ import annotations

import pytest

from tests.server.schemathesis_run import tried

pytestmark = [pytest.mark.redis, pytest.mark.slow]

SEED = 14
CASES = 6
"""Requests at random for each operation, and walks along the document's links."""


@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing() -> None:
    done, answers = tried("--seed", str(SEED), "--max-examples", str(CASES))

    assert done.returncode == 0, done.stdout + done.stderr
    assert " found " not in done.stdout.split("Test cases:")[1].splitlines()[1]
    # 503 is allowed where a machine is busy; a system that gave no other answer would be tried in
    # vain.
    assert sum(answers.values()) > 500, answers
    assert answers[503] <= sum(answers.values()) // 100, answers
    assert answers[200] + answers[201] + answers[202] > sum(answers.values()) // 10, answers
