"""Functions in worker processes: what they give and raise comes back, and nothing that they do to theirs reaches us."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.errors import CommandFailed, CommandRejected, HandlerError, OnexError, WorkerDied
from omnibase_infra.functions.workers.pool import WorkerPool, worker_pool
from tests.support.processes import Child, until

FUNCTIONS = "tests.support.functions"
LONG_S = 20.0
ROOM_BYTES = 1 << 29
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def with_pool(
    scenario: Callable[[WorkerPool], Awaitable[Any]], *, workers: int = 1, worker_bytes_max: int = ROOM_BYTES
) -> Any:
    """Play a scenario with a pool of its own, after which no process is left."""

    async def played() -> Any:
        with worker_pool(workers=workers, worker_bytes_max=worker_bytes_max) as pool:
            return await scenario(pool)

    before = set(psutil.Process().children())
    outcome = asyncio.run(played())
    assert set(psutil.Process().children()) == before
    return outcome


def call(
    pool: WorkerPool, function: str, argument: Any = None, *, budget_s: float = LONG_S
) -> Coroutine[Any, Any, Any]:
    """Call one of the functions of tests."""
    return pool.call(f"{FUNCTIONS}:{function}", argument, budget_s=budget_s)


async def failure(attempt: Coroutine[Any, Any, Any]) -> OnexError:
    """Return what a call raised."""
    with pytest.raises(OnexError) as raised:
        await attempt
    return raised.value


def test_any_json_comes_through_as_it_is() -> None:
    """A function gets the argument that was sent, and its result comes back."""
    with asyncio.Runner() as runner, worker_pool(workers=1, worker_bytes_max=ROOM_BYTES) as pool:

        @given(JSON)
        def holds(argument: Any) -> None:
            assert runner.run(call(pool, "echo", argument)) == {"got": argument}

        holds()
        large = {"text": "é\ud800" * 1_000_000}
        assert runner.run(call(pool, "echo", large)) == {"got": large}


def test_one_worker_serves_many_calls_and_imports_no_more_than_it_needs() -> None:
    """It is a process of its own, in a group of its own, and holds nothing of the host."""

    async def scenario(pool: WorkerPool) -> None:
        assert pool.pids == []
        found = await call(pool, "who")
        assert found["pid"] == found["group"] == (await call(pool, "who"))["pid"] != os.getpid()
        assert pool.pids == [found["pid"]]
        assert found["ignored"] == ["SIGINT", "SIGTERM"]
        unwanted = {"pydantic", "confluent_kafka", "asyncio", "omnibase_core.envelope", "omnibase_infra.host.plugins"}
        assert not unwanted & set(found["modules"])

    with_pool(scenario, workers=3)


def test_a_function_in_a_worker_takes_and_gives_models_as_on_the_loop() -> None:
    """The argument is validated into its model and the result dumped; a payload off the model is the sender's fault."""

    async def scenario(pool: WorkerPool) -> None:
        function = "tests.support.models:score"
        assert await pool.call(function, {"visits": 2}, budget_s=LONG_S) == {"score": 10}
        error = await failure(pool.call(function, {}, budget_s=LONG_S))
        assert isinstance(error, CommandRejected)
        assert (error.code, str(error)) == ("payload_invalid", "$.visits: Field required")

    with_pool(scenario)


@pytest.mark.parametrize(
    ("function", "argument", "fault"),
    [
        ("give", "a tuple", "a: input was not a valid JSON value"),
        ("give", "a key that is no text", "a.1.[key]: Input should be a valid string"),
        ("give", "bytes", "a.0: input was not a valid JSON value"),
        ("give", "too large", "its result: 681574"),
        ("give", "a number too long", "its result: Exceeds the limit (4300 digits) for integer string conversion"),
        ("circle", None, "its result: maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_json_is_told_by_its_place(function: str, argument: Any, fault: str) -> None:
    """Inline it would be refused too: nothing becomes JSON by having been in a worker. The worker stays."""

    async def scenario(pool: WorkerPool) -> None:
        error = await failure(call(pool, function, argument))
        assert error.code == "invalid_result"
        assert str(error).startswith(f"{FUNCTIONS}:{function}: {fault}")
        [pid] = pool.pids
        assert (await call(pool, "who"))["pid"] == pid

    with_pool(scenario)


@pytest.mark.parametrize("name", ["nothing", "a list", "an object"])
def test_what_is_no_object_is_left_to_the_handler(name: str) -> None:
    """It refuses it as it does inline."""
    assert not isinstance(with_pool(lambda pool: call(pool, "give", name)), dict)


def test_what_a_function_raises_comes_out_as_it_does_inline() -> None:
    """Its own bug, an error with a code of its own, and an exit, which ends no worker."""

    async def scenario(pool: WorkerPool) -> None:
        bug = await failure(call(pool, "fail", "x"))
        assert (type(bug), bug.code, str(bug)) == (CommandFailed, "internal_error", "ValueError: no such thing: x")
        rejected = await failure(call(pool, "fail", "rejected"))
        assert isinstance(rejected, CommandRejected)
        assert (rejected.code, str(rejected), rejected.details) == ("too_old", "not any more", {"age": 3})
        busy = await failure(call(pool, "fail", "busy"))
        assert isinstance(busy, CommandFailed)
        assert (busy.code, busy.retryable, busy.retry_after_s, busy.details) == ("busy", True, 2.0, {})
        assert str(await failure(call(pool, "fail", "exit"))) == "SystemExit: 3"
        assert str(await failure(call(pool, "fail", "speechless"))) == "Speechless"
        assert len(pool.pids) == 1

    with_pool(scenario)


def test_a_function_that_never_comes_back_is_killed_at_its_budget_and_the_loop_turns_meanwhile() -> None:
    """Even within C. The next call has a worker again, and the process that was killed leaves no zombie."""

    async def scenario(pool: WorkerPool) -> None:
        first = (await call(pool, "who"))["pid"]
        began_s, turns = time.monotonic(), 0
        doomed = asyncio.create_task(call(pool, "wild", budget_s=0.5))
        while not doomed.done():
            await asyncio.sleep(0.01)
            turns += 1
        with pytest.raises(TimeoutError):
            await doomed
        assert 0.5 <= time.monotonic() - began_s < 5
        assert turns > 10
        assert (await call(pool, "who"))["pid"] != first
        await _until(lambda: not psutil.pid_exists(first))

    with_pool(scenario)


def test_an_answer_that_came_in_time_counts_however_late_the_loop_looks() -> None:
    """A neighbour on the loop that takes its time costs no isolated function its budget."""

    async def scenario(pool: WorkerPool) -> None:
        await call(pool, "echo")
        answer = asyncio.create_task(call(pool, "echo", 1, budget_s=0.2))
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251 - the neighbour
        assert await answer == {"got": 1}

    with_pool(scenario)


@pytest.mark.parametrize(
    ("how", "told", "retryable"),
    [
        ("exit", "its worker ended (status 7) under the call", False),
        ("crash", "its worker was ended by SIGSEGV under the call", False),
        ("kill", "its worker was ended by SIGKILL under the call", True),
    ],
)
def test_a_worker_that_dies_fails_the_call_under_way_and_no_other(how: str, told: str, *, retryable: bool) -> None:
    """What it did itself it would do again; what was done to it, by the memory's warden for one, may pass."""

    async def scenario(pool: WorkerPool) -> None:
        neighbour = asyncio.create_task(call(pool, "sleep", 0.3))
        error = await failure(call(pool, "end", how))
        assert isinstance(error, WorkerDied)
        assert (error.code, str(error), error.retryable) == ("worker_died", f"{FUNCTIONS}:end: {told}", retryable)
        assert error.tells_of_trouble
        assert await call(pool, "echo", 1) == {"got": 1}
        assert await neighbour == {"slept": 0.3}

    with_pool(scenario, workers=2)


@pytest.mark.parametrize("what", ["text", "a byte", "a frame", "a frame without a number"])
@pytest.mark.parametrize("when", ["", "later "], ids=["at once", "later"])
def test_what_a_function_writes_to_the_host_is_no_answer_to_any_call(what: str, when: str) -> None:
    """The call that meets it fails and may be tried again; its worker is killed, and no call has another's answer."""

    async def scenario(pool: WorkerPool) -> None:
        pid = (await call(pool, "who"))["pid"]
        if when:
            assert await call(pool, "stray", when + what) == {"strayed": when + what}
            await asyncio.sleep(0.5)
        attempt = call(pool, "echo", 0) if when else call(pool, "stray", what)
        error = await failure(attempt)
        assert isinstance(error, WorkerDied)
        assert (error.code, error.retryable) == ("worker_died", True)
        assert f"{FUNCTIONS}:{'echo' if when else 'stray'}: its worker was killed: " in str(error)
        assert [await call(pool, "echo", n) for n in range(3)] == [{"got": n} for n in range(3)]
        assert pid not in pool.pids
        await _until(lambda: not psutil.pid_exists(pid))

    with_pool(scenario)


def test_bytes_that_are_no_whole_header_are_not_waited_for() -> None:
    """The function goes on for ever, but what it wrote before has been seen."""

    async def scenario(pool: WorkerPool) -> None:
        await call(pool, "who")
        began_s = time.monotonic()
        error = await failure(call(pool, "stray_and_spin"))
        assert isinstance(error, WorkerDied)
        assert time.monotonic() - began_s < 5

    with_pool(scenario)


def test_a_function_that_comes_back_twice_answers_one_call() -> None:
    """What its child says as well is no answer to the next."""

    async def scenario(pool: WorkerPool) -> None:
        assert set(await call(pool, "fork")) == {"parent"}
        for n in range(20):
            try:
                assert await call(pool, "echo", n) == {"got": n}
            except WorkerDied:
                break
        assert [await call(pool, "echo", n) for n in range(3)] == [{"got": n} for n in range(3)]

    with_pool(scenario)


def test_a_worker_has_the_variables_that_it_is_given_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a function has no use for, it cannot give away."""
    monkeypatch.setenv("ONEX_SECRET_KEY", "1234")

    async def scenario(pool: WorkerPool) -> Any:
        return await call(pool, "environment")

    # Python adds one by itself where it is started without any.
    assert set(with_pool(scenario)) <= {"LC_CTYPE"}

    with worker_pool(workers=1, worker_bytes_max=ROOM_BYTES, environment={"TZ": "Europe/Paris"}) as pool:
        found = asyncio.run(scenario(pool))
    assert found["TZ"] == "Europe/Paris"
    assert set(found) <= {"LC_CTYPE", "TZ"}


def test_a_worker_that_was_killed_while_it_was_idle_is_replaced() -> None:
    """No call fails for it."""

    async def scenario(pool: WorkerPool) -> None:
        pid = (await call(pool, "who"))["pid"]
        os.kill(pid, signal.SIGKILL)
        await _until(lambda: pool.pids == [])
        assert (await call(pool, "who"))["pid"] != pid

    with_pool(scenario)


def test_what_it_says_goes_where_the_host_writes_and_it_has_nothing_to_read(capfd: pytest.CaptureFixture[str]) -> None:
    """Its standard streams are no part of how it is spoken to."""
    assert with_pool(lambda pool: call(pool, "talk")) == {"read": ""}
    said = capfd.readouterr()
    assert (said.out, said.err) == ("said to standard output\n", "said to standard error\n")


def test_a_module_that_cannot_be_imported_is_told_and_may_be_there_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing, what fails and what ends the process; each is the trouble of its node alone."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_that_ends.py").write_text("import os\nos._exit(9)\n")
    (tmp_path / "module_that_exits.py").write_text("import sys\nsys.exit('no licence')\n")

    async def scenario(pool: WorkerPool) -> None:
        for name, code, message in (
            ("no_such:f", "function_unavailable", "in a worker, module 'no_such' cannot be imported: ModuleNotFound"),
            (f"{FUNCTIONS}:nope", "function_unavailable", f"in a worker, module '{FUNCTIONS}' has no function 'nope'"),
            (
                "module_that_exits:f",
                "function_unavailable",
                "in a worker, module 'module_that_exits' cannot be imported: SystemExit: no licence",
            ),
            ("module_that_ends:f", "worker_not_started", "module_that_ends:f: no worker: it ended (status 9)"),
        ):
            error = await failure(pool.call(name, 1, budget_s=LONG_S))
            assert isinstance(error, CommandFailed)
            assert (error.code, error.retryable, error.tells_of_trouble) == (code, True, True)
            assert str(error).startswith(message)
        (tmp_path / "no_such.py").write_text("f = dict\n")
        (tmp_path / "module_that_ends.py").write_text("f = dict\n")
        assert await pool.call("module_that_ends:f", {"a": 1}, budget_s=LONG_S) == {"a": 1}

    with_pool(scenario)


def test_an_interpreter_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why, and that it may pass; then it does."""

    async def scenario(pool: WorkerPool) -> None:
        with monkeypatch.context() as changed:
            changed.setattr(sys, "executable", "/nowhere/python")
            error = await failure(call(pool, "echo"))
        assert (error.code, error.retryable) == ("worker_not_started", True)
        assert str(error) == "no worker can be started: No such file or directory"
        assert await call(pool, "echo", 1) == {"got": 1}

    with_pool(scenario)


def test_a_worker_that_holds_too_much_is_replaced() -> None:
    """After its call, which is answered."""

    async def scenario(pool: WorkerPool) -> None:
        mb = 1024 * 1024
        small = [(await call(pool, "hold", mb))["pid"] for _ in range(3)]
        large = (await call(pool, "hold", 80 * mb))["pid"]
        assert {*small, large} == {large}
        assert (await call(pool, "hold", mb))["pid"] != large

    with_pool(scenario, worker_bytes_max=64 * 1024 * 1024)


def test_no_more_workers_than_allowed_and_each_call_has_its_own_answer() -> None:
    """However many calls there are at once."""

    async def scenario(pool: WorkerPool) -> None:
        answers = await asyncio.gather(*(call(pool, "echo", n) for n in range(1000)))
        assert answers == [{"got": n} for n in range(1000)]
        assert len(pool.pids) == 3

    with_pool(scenario, workers=3)


def test_functions_that_wait_for_a_worker_take_turns() -> None:
    """One with a hundred calls holds back the call of another by one."""

    async def scenario(pool: WorkerPool) -> None:
        await call(pool, "sleep", 0)
        many = [asyncio.create_task(call(pool, "sleep", 0.05)) for _ in range(100)]
        await asyncio.sleep(0.01)
        await call(pool, "echo")
        assert sum(task.done() for task in many) <= 2
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        assert await call(pool, "echo", 1) == {"got": 1}

    with_pool(scenario)


def test_cancelling_at_any_moment_leaves_the_pool_usable() -> None:
    """While a worker is started, waited for, asked or answers; its function is ended, and no place is lost."""

    async def scenario(pool: WorkerPool) -> None:
        for n in range(60):
            task = asyncio.create_task(call(pool, "sleep", 0.01))
            waiting = [asyncio.create_task(call(pool, "echo", n)) for n in range(3)]
            for _ in range(n % 6):
                await asyncio.sleep(0)
            await asyncio.sleep(n / 1000)
            for it in (task, waiting[1]):
                it.cancel()
            await asyncio.gather(task, waiting[1], return_exceptions=True)
            assert [await waiting[0], await waiting[2]] == [{"got": 0}, {"got": 2}]
        slow = [asyncio.create_task(call(pool, "wild")) for _ in range(2)]
        await asyncio.sleep(0.3)
        for it in slow:
            it.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert await asyncio.gather(*(call(pool, "echo", n) for n in range(2))) == [{"got": 0}, {"got": 1}]

    with_pool(scenario, workers=2)


def test_a_pool_may_be_opened_and_closed_any_number_of_times_and_keeps_nothing_open() -> None:
    """Unused, idle, and in the middle of a call, which then fails."""

    def descriptors() -> int:
        gc.collect()
        return psutil.Process().num_fds()

    async def busy(pool: WorkerPool) -> "asyncio.Task[Any]":
        task = asyncio.create_task(call(pool, "wild"))
        await asyncio.sleep(0.2)
        return task

    async def played() -> None:
        with worker_pool(workers=2, worker_bytes_max=ROOM_BYTES):
            pass
        with worker_pool(workers=2, worker_bytes_max=ROOM_BYTES) as pool:
            await call(pool, "echo")
        with worker_pool(workers=2, worker_bytes_max=ROOM_BYTES) as pool:
            tasks = [await busy(pool) for _ in range(3)]
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        # On a busy machine, a worker may not have come as far as the function.
        assert all(isinstance(it, WorkerDied | HandlerError) for it in ended[:2])
        assert isinstance(ended[2], RuntimeError)

    others = set(psutil.Process().children())
    asyncio.run(played())
    before = descriptors()
    for _ in range(3):
        asyncio.run(played())
    assert descriptors() == before
    assert set(psutil.Process().children()) == others


HOST = """
import asyncio, sys
from omnibase_infra.functions.workers.pool import worker_pool

async def main():
    with worker_pool(workers=2, worker_bytes_max=1 << 29) as pool:
        await pool.call("tests.support.functions:echo", 1, budget_s=20)
        spinning = asyncio.create_task(pool.call("tests.support.functions:wild", 1, budget_s=60))
        await asyncio.sleep(0.1)
        await pool.call("tests.support.functions:echo", 1, budget_s=20)
        print("pids", *pool.pids, flush=True)
        await spinning

asyncio.run(main())
"""


def test_no_worker_outlives_a_host_that_is_killed(tmp_path: Path) -> None:
    """Neither the idle one nor the one that is within C for ever."""
    root = str(Path(__file__).parents[4])
    host = Child([sys.executable, "-c", HOST], tmp_path / "log", environment={"PYTHONPATH": root})
    try:
        host.until_says("pids", within_s=30)
        pids = [int(it) for it in host.log.read_text().split()[1:]]
        assert len(pids) == 2
        assert all(map(psutil.pid_exists, pids))
    finally:
        host.kill()
    _until_ended(pids)


def test_ctrl_c_is_for_the_host_alone(tmp_path: Path) -> None:
    """A signal to the group of a terminal ends the host, and no worker says a word."""
    root = str(Path(__file__).parents[4])
    with (tmp_path / "log").open("wb") as log:
        host = subprocess.Popen(
            [sys.executable, "-c", HOST], stdout=log, stderr=log, env={"PYTHONPATH": root}, start_new_session=True
        )
    with host:
        until(lambda: "pids" in (tmp_path / "log").read_text(), within_s=30, what="the host serves")
        pids = [int(it) for it in (tmp_path / "log").read_text().split()[1:]]
        os.killpg(host.pid, signal.SIGINT)
        assert host.wait(10) == -signal.SIGINT
    said = (tmp_path / "log").read_text()
    assert said.count("Traceback") == said.count("During handling") + 1, said
    assert said.rstrip().endswith("KeyboardInterrupt")
    _until_ended(pids)


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG_S):
        while not holds():  # noqa: ASYNC110 - what it waits for happens in another process
            await asyncio.sleep(0.01)


def _until_ended(pids: list[int]) -> None:
    """Wait for processes to end, and end those that do not."""
    try:
        until(lambda: not any(map(_lives, pids)), within_s=10, what="the workers end")
    finally:
        for pid in filter(_lives, pids):
            os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
