"""Fixtures that start real servers once, and the summary that says which were used."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from hypothesis import settings

from tests.support import http2_server, http_server, llm_server, smollm
from tests.support.brokers import Broker, broker
from tests.support.consul_standin import Agent, consul_agent
from tests.support.llm_server import LlmServer
from tests.support.openbao import OpenBao
from tests.support.postgres import Postgres, PostgresMissing
from tests.support.processes import reserved_port

pytest_plugins = ["tests.architecture.purity"]

# On a busy machine any example may take long: how quick something is, is for the benchmarks to say.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_SERVERS: set[str] = set()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run one broker for all tests. Nobody may stop it. A relay before it may listen at its `relay_port`."""
    with reserved_port() as relay_port:
        server = broker(tmp_path_factory.mktemp("kafka"), relay_port=relay_port)
        server.start()
        _SERVERS.add(server.name)
        yield server
        server.stop()


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Yield a broker that the test starts, and may stop and start as it likes."""
    server = broker(tmp_path_factory.mktemp("own-kafka"))
    _SERVERS.add(server.name)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Run one PostgreSQL for all tests, each with a database of its own. Nobody may stop it."""
    with _postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Yield a PostgreSQL that runs, and that the test may stop, kill and start as it likes."""
    with _postgres(tmp_path_factory.mktemp("own-postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """Run one OpenBao for all tests. Nobody may stop or seal it."""
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    server.start()
    _SERVERS.add(server.name)
    yield server
    server.stop()


@pytest.fixture
def own_openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """Yield an OpenBao that runs, and that the test may seal and stop as it likes."""
    server = OpenBao(tmp_path_factory.mktemp("own-openbao"))
    server.start()
    _SERVERS.add(server.name)
    yield server
    server.stop()


def _postgres(folder: Path) -> Postgres:
    """Return a server; without one the test is skipped, unless REQUIRE_POSTGRES=1 makes that a failure."""
    try:
        server = Postgres(folder / "postgres.log")
    except PostgresMissing as missing:
        if os.environ.get("REQUIRE_POSTGRES") == "1":
            raise
        pytest.skip(str(missing))
    _SERVERS.add(server.name)
    return server


@pytest.fixture(scope="session")
def http_port() -> Iterator[int]:
    """Run one HTTP server for all tests, and give its port. Nobody may stop it."""
    _SERVERS.add(http_server.NAME)
    with http_server.http_server() as port:
        yield port


@pytest.fixture(scope="session")
def llm_stand_in() -> Iterator[LlmServer]:
    """Run one stand-in for servers of models for all tests. Nobody may stop it."""
    _SERVERS.add(llm_server.NAME)
    with llm_server.llm_server() as server:
        yield server


@pytest.fixture(scope="session")
def smollm_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run one small language model for all tests, and give its port. Nobody may stop it."""
    _SERVERS.add(smollm.NAME)
    with smollm.smollm(tmp_path_factory.mktemp("smollm") / "smollm.log") as port:
        yield port


@pytest.fixture(scope="session")
def consul() -> Iterator[Agent]:
    """Yield one agent of Consul for all tests, which each use keys and names of their own. Nobody may stop it."""
    with consul_agent() as agent:
        _SERVERS.add(agent.name)
        yield agent


@pytest.fixture
def own_consul() -> Iterator[Agent]:
    """Yield an agent that the test may do anything with; a stand-in's seconds are twenty times shorter."""
    with consul_agent(hurry=20) as agent:
        _SERVERS.add(agent.name)
        yield agent


@pytest.fixture(scope="session")
def uses_http2() -> None:
    """Name the HTTP/2 server, which each test of it starts for itself."""
    _SERVERS.add(http2_server.NAME)


@pytest.fixture
def unique_slug() -> str:
    """Return a tenant that no other test uses, so that the tests of one broker do not meet."""
    return f"t{uuid4().hex[:12]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Describe which servers took part."""
    terminalreporter.section("servers")
    for name in sorted(_SERVERS) or ["no server was needed"]:
        terminalreporter.write_line(name)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves a process behind."""
    left = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    if left:
        for child in left:
            child.kill()
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        raise pytest.exit.Exception(f"processes left behind: {[child.name() for child in left]}", returncode=1)
