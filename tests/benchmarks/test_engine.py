"""What the engine spends on a command does not creep up: who changes it changes the figures here."""

import pytest

from tests.benchmarks.engine import KINDS, instructions_each

SPENT = {"inline": 834, "traced": 958, "expressions": 1268, "awaiting": 2855}
"""Instructions of Python a command, as measured when this was last changed."""
WITHIN = 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_costs_the_engine_what_it_did(kind: str) -> None:
    """Within five hundredths, to either side."""
    assert instructions_each(kind) == pytest.approx(SPENT[kind], rel=WITHIN)
