"""State files: what each running host tells the other commands of the same user. No secret is written here.

They lead a command to a broker and to contracts, so nobody else may write them: files of other users are not read, and
a folder in which others could replace them is not used.
"""

import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from omnibase_core.contracts.yaml.document import suggestion
from omnibase_core.envelope import UtcDatetime
from omnibase_core.errors import OnexError

_FILE_BYTES_MAX = 1024 * 1024
"""Room for ten thousand nodes with names of 80 characters."""
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class HostState(BaseModel):
    """One running host: where its broker is, and which major version of which node it serves.

    Fields that are not known are ignored: the host that wrote them may be of a newer version.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    pid: Annotated[int, Field(ge=1, lt=2**31)]
    started_at: UtcDatetime
    bootstrap_servers: str
    contract_path: str
    contracts_dir: str
    nodes: dict[str, int]
    health_url: str | None = None


class HostNotFound(OnexError):
    """No running host, or more than one, is the one that is meant."""

    code = "host_not_found"


class StateNotWritable(OnexError):
    """A state file that cannot be written."""

    code = "state_not_writable"


class StateNotSafe(OnexError):
    """A state folder in which others may replace what this user has written."""

    code = "state_not_safe"


def write_state(state_dir: Path | None, state: HostState) -> None:
    """Write the host's file, whole or not at all, for the user's eyes only. Raises StateNotWritable, StateNotSafe."""
    if state_dir is None:
        raise StateNotWritable("there is no state folder: neither RUNTIME_HOST_STATE_DIR nor HOME is set")
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(state_dir)
        _replace(_path(state_dir, state), state.model_dump_json(indent=2))
    except OSError as error:
        message = f"state folder {state_dir}: {error.strerror}; expected one that this user may write"
        raise StateNotWritable(f"{message} (set RUNTIME_HOST_STATE_DIR)") from error


def remove_state(state_dir: Path | None, state: HostState) -> None:
    """Remove the host's file, if it has one, unless it has become another's."""
    if state_dir is not None and _read(path := _path(state_dir, state)) == state:
        with suppress(OSError):
            path.unlink()


def running_hosts(state_dir: Path) -> list[HostState]:
    """Read who is running, by name and age. Files of processes that are no more are deleted, and rubbish is ignored.

    Raises StateNotSafe. A folder that is not there has no hosts.
    """
    with suppress(OSError):
        _check_folder(state_dir)
    running: list[HostState] = []
    for path in state_dir.glob("*.json"):
        state = _read(path)
        if state is None:
            continue
        if _is_alive(state.pid):
            running.append(state)
        else:
            with suppress(OSError):
                path.unlink()
    return sorted(running, key=lambda state: (state.host, state.started_at))


def find_host(states: Sequence[HostState], node: str | None) -> HostState:
    """Find the host that serves a node, or the only one.

    Raises HostNotFound, which says what there is and what to give.
    Processes of one host contract on one broker are as good as one, and the oldest is given.
    """
    serving = [state for state in states if node is None or node in state.nodes]
    if not serving:
        raise HostNotFound(_nobody(states, node))
    if len({(state.contract_path, state.contracts_dir, state.bootstrap_servers) for state in serving}) > 1:
        places = "; ".join(map(_described, serving))
        they = "several hosts run here" if node is None else f"several hosts serve {node!r}"
        raise HostNotFound(f"{they}: {places}. Say which with --host HOST.yaml")
    return serving[0]


def _nobody(states: Sequence[HostState], node: str | None) -> str:
    if node is None or not states:
        return (
            "no host is running here: start one with `runtime-host run HOST.yaml`, or say which with --host HOST.yaml"
        )
    served = {name for state in states for name in state.nodes}
    hint, _ = suggestion(node, served, otherwise="say which host does with --host HOST.yaml")
    return (
        f"no running host serves {node!r}; running: {'; '.join(map(_described, states))}. {hint[0].upper()}{hint[1:]}"
    )


def _described(state: HostState) -> str:
    return f"{state.host} (pid {state.pid}, {state.contract_path}, broker {state.bootstrap_servers})"


def _path(state_dir: Path, state: HostState) -> Path:
    """One file a process: the same host contract may run several times on one machine."""
    return state_dir / f"{state.host}-{state.pid}.json"


def _replace(path: Path, text: str) -> None:
    """Put a file in the place of another at once: a reader never sees half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink()
        raise


def _check_folder(state_dir: Path) -> None:
    """Raise StateNotSafe where others may rename and remove files: all who may write, but in a folder like /tmp."""
    found = state_dir.stat()
    is_open = found.st_mode & _OTHERS_MAY_WRITE and not found.st_mode & stat.S_ISVTX
    if is_open or found.st_uid not in (0, os.geteuid()):
        mode = f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        raise StateNotSafe(
            f"state folder {state_dir}: others may replace what is in it ({mode}); expected one that is this user's "
            "alone: set RUNTIME_HOST_STATE_DIR to another, such as a new one below it, or make it 0700"
        )


def _read(path: Path) -> HostState | None:
    """Return what a file of this user says; None where it is another's, no file, too large, or says nothing."""
    try:
        # Not through a link, and without waiting for whoever would write into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > _FILE_BYTES_MAX:
                return None
            return HostState.model_validate_json(file.read(_FILE_BYTES_MAX))
    except (OSError, ValidationError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
