"""Functions that run for too long are interrupted, in a process of their own: its SIGALRM is the budget's."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, re, signal, time
from omnibase_infra.functions.budget import alarm_budget

def spin():
    while True: pass

def stubborn():
    while True:
        try:
            while True: pass
        except Exception: pass

def very_stubborn():
    for _ in range(3):
        try:
            while True: pass
        except BaseException: pass
    while True: pass

def sleepy():
    time.sleep(60)

told = {}
before = signal.getsignal(signal.SIGALRM)
with alarm_budget() as budget:
    for function in (spin, stubborn, very_stubborn, sleepy):
        began = time.monotonic()
        try:
            budget.bounded(function, 0.05)
        except TimeoutError as error:
            told[function.__name__] = [str(error), time.monotonic() - began < 1]
    told["result"] = budget.bounded(lambda: 7, 0.05)
    try:
        budget.bounded(lambda: 1 / 0, 0.05)
    except ZeroDivisionError:
        told["own error"] = True
    time.sleep(0.1)
    for _ in range(400):
        try:
            budget.bounded(int, 0.000_05)
        except TimeoutError:
            pass  # On a busy machine even that may take too long; but nothing is interrupted after it.
told["restored"] = signal.getsignal(signal.SIGALRM) is before
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    """Run the script once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["spin", "stubborn", "very_stubborn", "sleepy"])
def test_a_function_is_interrupted_at_its_budget(told: dict[str, object], name: str) -> None:
    """Whether it computes, catches everything, or sleeps."""
    assert told[name] == ["interrupted after 0.05 s", True]


def test_what_ends_in_time_is_left_alone(told: dict[str, object]) -> None:
    """Its result and its own errors come through, nothing is interrupted afterwards, and the signal is given back."""
    assert (told["result"], told["own error"], told["restored"]) == (7, True, True)
