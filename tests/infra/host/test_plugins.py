"""What contracts may refer to here: handlers, of this project and of plug-ins, the bus, and functions."""

import asyncio
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from omnibase_core.handlers.compute import ComputeHandler, FunctionCall
from omnibase_core.handlers.local import LocalHandler
from omnibase_core.ports import HandlerCall
from omnibase_infra.functions.importing import import_function
from omnibase_infra.host.plugins import (
    BrokenPlugin,
    bus_factories,
    catalog,
    function_reader,
    handler_factories,
    store_factories,
)
from omnibase_infra.kafka import KafkaBusFactory
from omnibase_infra.stores.memory import MemoryStoreFactory, MemoryStoreSettings
from tests.support.plugins import install

PLUGIN = """
from omnibase_infra.host.core_handlers import LocalHandlerFactory
from dataclasses import replace

class Factory(LocalHandlerFactory):
    description = replace(LocalHandlerFactory.description, handler_type={handler_type!r})

factory = Factory()
"""


STORE = """
from omnibase_infra.stores.memory import MemoryStoreFactory as factory
"""


def test_the_catalog_has_the_handlers_of_this_project() -> None:
    """Each describes itself by the type that it is found under, and the bus by the model of its settings."""
    found = catalog()
    assert {"local", "compute", "http"} <= set(found.handlers)
    assert all(description.handler_type == name for name, description in found.handlers.items())
    assert found.bus is found.buses["kafka"] is bus_factories()["kafka"].settings
    assert isinstance(bus_factories()["kafka"], KafkaBusFactory)
    assert found.import_function("decimal:Decimal") is Decimal


@pytest.mark.parametrize(("name", "kind"), [("local", LocalHandler), ("compute", ComputeHandler)])
def test_a_factory_opens_the_handler_that_it_describes(name: str, kind: type) -> None:
    """Those of core need nothing but to be made."""

    async def scenario() -> None:
        factory = handler_factories()[name]
        async with factory.open(settings=factory.description.settings(), targets={}) as handler:
            assert isinstance(handler, kind)

    asyncio.run(scenario())


def test_the_compute_handler_calls_functions_on_the_loop_and_in_a_process_of_their_own() -> None:
    """As many processes as its settings allow, from the first call until it is closed."""

    async def scenario() -> None:
        factory = handler_factories()["compute"]
        request = FunctionCall(function="tests.support.functions:who", argument=None, budget_s=20)
        call = HandlerCall("compute", "call", request, None, 20, UUID(int=1))
        async with factory.open(settings=factory.description.settings(workers=1), targets={}) as handler:
            assert isinstance(handler, ComputeHandler)
            assert handler.execute_inline(call)["pid"] == os.getpid()
            pids = {found["pid"] for found in await asyncio.gather(*(handler.execute(call) for _ in range(5)))}
            assert len(pids) == 1
            assert os.getpid() not in pids
        assert not any(map(psutil.pid_exists, pids))

    asyncio.run(scenario())


def test_the_secrets_of_the_host_are_not_in_the_environment_of_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They get what an interpreter heeds."""
    monkeypatch.setenv("ONEX_SECRET_KEY", "1234")
    monkeypatch.setenv("TZ", "Europe/Paris")

    async def scenario() -> Mapping[str, Any]:
        factory = handler_factories()["compute"]
        request = FunctionCall(function="tests.support.functions:environment", argument=None, budget_s=20)
        async with factory.open(settings=factory.description.settings(), targets={}) as handler:
            assert isinstance(handler, ComputeHandler)
            return await handler.execute(HandlerCall("compute", "call", request, None, 20, UUID(int=1)))

    found = asyncio.run(scenario())
    assert found["TZ"] == "Europe/Paris"
    assert "1234" not in found.values()


def test_a_plugin_adds_its_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To install it is enough."""
    install(tmp_path, monkeypatch, "plugin_that_adds", PLUGIN.format(handler_type="mine"))
    assert set(catalog().handlers) >= {"local", "compute", "http", "mine"}


def test_a_plugin_adds_its_store_and_its_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contracts know them by the names of the entry points; of a class, one is made."""
    bus = "from omnibase_infra.kafka import KafkaBusFactory\nfactory = KafkaBusFactory()\n"
    (tmp_path / "1").mkdir()
    install(tmp_path / "1", monkeypatch, "plugin_with_a_store", STORE, "omnibase.stores", "shelf")
    install(tmp_path, monkeypatch, "plugin_with_a_bus", bus, "omnibase.buses", "wire")
    found = catalog()
    assert set(found.stores) == {"memory", "postgres", "shelf"}
    assert found.stores["shelf"] is MemoryStoreSettings
    assert set(found.buses) == {"kafka", "wire"}
    assert isinstance(bus_factories()["wire"], KafkaBusFactory)
    assert isinstance(store_factories()["shelf"], MemoryStoreFactory)


@pytest.mark.parametrize(
    ("module", "source", "group", "name", "reason"),
    [
        ("store_that_takes", STORE, "omnibase.stores", "memory", "the store 'memory' is taken"),
        ("bus_that_takes", STORE, "omnibase.buses", "kafka", "the bus 'kafka' is taken"),
        ("store_of_nothing", "factory = 1", "omnibase.stores", "one", "AttributeError: 'int' object has no"),
        (
            "bus_without_a_model",
            "class factory: settings = {}",
            "omnibase.buses",
            "one",
            "TypeError: its settings are {}; expected a model of pydantic",
        ),
    ],
)
def test_a_broken_store_or_bus_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, group: str, name: str, reason: str
) -> None:
    """As a broken handler is."""
    install(tmp_path, monkeypatch, module, source, group, name)
    with pytest.raises(BrokenPlugin) as caught:
        catalog()
    assert str(caught.value).startswith(f"plug-in {module}:factory: {reason}")


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("plugin_that_takes", PLUGIN.format(handler_type="http"), "the handler type 'http' is taken"),
        ("plugin_that_fails", "raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("plugin_without", "", "AttributeError: module 'plugin_without' has no attribute 'factory'"),
        ("plugin_of_nothing", "factory = None", "AttributeError: 'NoneType' object has no attribute 'description'"),
    ],
)
def test_a_broken_plugin_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, reason: str
) -> None:
    """A host that went on without it would fail later and less plainly."""
    install(tmp_path, monkeypatch, module, source)
    with pytest.raises(BrokenPlugin) as caught:
        handler_factories()
    assert str(caught.value) == f"plug-in {module}:factory: {reason}"


def test_a_function_is_imported_by_module_and_name() -> None:
    """It is the function itself."""
    function = import_function("omnibase_infra.demo.scoring:mask_email")
    assert function("ada@example.com") == {"masked": "a**@example.com", "domain": "example.com"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:run", "module 'no_such_module' cannot be imported: ModuleNotFoundError: No module named"),
        ("", "module '' cannot be imported: ValueError: "),
        ("json:no_such_function", "module 'json' has no function 'no_such_function'"),
        ("json", "module 'json' has no function ''"),
        ("json:__name__", "module 'json' has no function '__name__'"),
        ("asyncio:sleep", "asyncio:sleep is async; "),
    ],
)
def test_what_is_no_function_is_told(name: str, message: str) -> None:
    """The message says what is missing: the module, the function in it, or that it answers at once."""
    with pytest.raises(LookupError) as caught:
        import_function(name)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "body", "failure"),
    [("fails", "1 / 0", "ZeroDivisionError: "), ("leaves", "raise SystemExit('no licence')", "SystemExit: no licence")],
)
def test_a_module_that_fails_is_told_with_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, failure: str
) -> None:
    """Whatever it raises, the fault is told as one of the contract that names it."""
    (tmp_path / f"module_that_{name}.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LookupError, match=f"^module 'module_that_{name}' cannot be imported: {failure}"):
        import_function(f"module_that_{name}:run")


def test_an_impure_function_is_told_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is in its own file; other packages than those that are allowed are judged by their names."""
    (tmp_path / "module_with_a_clock.py").write_text("import time\n\n\ndef run(p):\n    return time.time()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    [problem] = function_reader()("module_with_a_clock:run", ["module_with_a_clock"])
    assert str(problem).startswith(
        f"{tmp_path / 'module_with_a_clock.py'}:5:12: time.time (in run); time is an input: "
    )
    assert "logic_packages" in function_reader()("module_with_a_clock:run", ["another"])[0].message
