"""A real PostgreSQL, started and stopped by the tests: Debian's package, or whatever has `postgres` on the path."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from tests.support.processes import Child, free_port, until

_DEBIAN = Path("/usr/lib/postgresql")
_START_S = 30.0
_FAST = signal.SIGINT
"""What PostgreSQL calls a fast shutdown: sessions are ended, and nothing is lost."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "log_min_messages": "warning",
}


class PostgresMissing(AssertionError):
    """There is no PostgreSQL on this machine."""


class Postgres:
    """A PostgreSQL server that a test may stop, kill and start again on the same port, with the same data.

    It does not run as root: started by root, it runs as the user `postgres`, or as `nobody`. So its data is outside of
    the tests' own folder, which is the owner's alone; `close` removes it. Any password is taken, but of those who were
    created with `create_user`.
    """

    def __init__(self, log: Path) -> None:
        """Make a new cluster of databases. Raises PostgresMissing."""
        self._binaries = _binaries()
        self._user = _user()
        self._log = log
        self._folder = Path(tempfile.mkdtemp(prefix="onex-postgres-"))
        self._child: Child | None = None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self.port = free_port()
        version = _run([str(self._binaries / "postgres"), "--version"])
        self.name = version.strip().replace("postgres (PostgreSQL)", "PostgreSQL")
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        _run([str(self._binaries / "initdb"), "-D", str(self._data), *options], user=self._user)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings]
        self._child = Child(command, self._log, user=self._user)
        until(self._answers, within_s=_START_S, what=self.name)

    def stop(self) -> None:
        """End it in order, without waiting for its clients."""
        if self._child is not None:
            self._child.stop(_FAST)

    def kill(self) -> None:
        """End it at once, with everything that it has started."""
        if self._child is None or not psutil.pid_exists(self._child.pid):
            return
        started = psutil.Process(self._child.pid).children(recursive=True)
        self._child.kill()
        # They would end by themselves, unless they are stopped; until then the data is theirs.
        for child in started:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(started, timeout=_START_S)

    def close(self) -> None:
        """End it, and remove its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "Postgres":
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def pids(self) -> list[int]:
        """The numbers of the server's processes, the first of them first."""
        assert self._child is not None
        first = psutil.Process(self._child.pid)
        return [first.pid, *(child.pid for child in first.children(recursive=True))]

    def dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the connection string of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database, and give its connection string."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.dsn(name)

    def create_user(self, name: str, password: str) -> None:
        """Create a superuser who has to show a password."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            create = sql.SQL("create role {} superuser login password {}")
            connection.execute(create.format(sql.Identifier(name), sql.Literal(password)))
            rules = self._data / "pg_hba.conf"
            rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
            connection.execute("select pg_reload_conf()")
        until(lambda: not self._admits(name), within_s=_START_S, what="the rule for a user")

    def change_password(self, name: str, password: str) -> None:
        """Return a user another password. Who is connected stays so."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            change = sql.SQL("alter role {} password {}")
            connection.execute(change.format(sql.Identifier(name), sql.Literal(password)))

    def end_sessions(self, user: str) -> None:
        """End every connection of a user, whatever is under way on it."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (user,))

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _answers(self) -> bool:
        assert self._child is not None
        return self._admits("postgres")

    def _admits(self, user: str) -> bool:
        """Check whether a user can connect without a password."""
        try:
            psycopg.connect(self.dsn(user=user), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _binaries() -> Path:
    """Find the folder with `initdb` and `postgres`: the newest of Debian's, or that of the path."""
    debian = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda it: int(it.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        raise PostgresMissing("there is no PostgreSQL to run: install the package `postgresql`")
    return Path(found).resolve().parent


def _user() -> str | None:
    """Return the user to run as; None to stay who we are."""
    if os.geteuid() != 0:
        return None
    there = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in there else "nobody"


def _run(command: list[str], *, user: str | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        user=user,
        extra_groups=None if user is None else [],
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout
