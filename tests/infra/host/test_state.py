"""State files: who runs here, as the other commands of the same user find it."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from omnibase_infra.host.state import (
    HostNotFound,
    HostState,
    StateNotSafe,
    StateNotWritable,
    find_host,
    remove_state,
    running_hosts,
    write_state,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATE = HostState(
    host="pool",
    pid=os.getpid(),
    started_at=NOON,
    bootstrap_servers="127.0.0.1:9092",
    contract_path="/app/host.yaml",
    contracts_dir="/app/nodes",
    nodes={"echo": 1, "score-lead": 2},
    health_url="http://127.0.0.1:8080",
)


def like(**changes: object) -> HostState:
    """Return the state with other fields."""
    return STATE.model_copy(update=changes)


def ended_pid() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def names(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_until_it_is_removed(tmp_path: Path) -> None:
    """The folder is made when it is not there, and nothing else is left in it."""
    folder = tmp_path / "state" / "hosts"
    assert running_hosts(folder) == []
    write_state(folder, STATE)
    assert running_hosts(folder) == [STATE]
    assert names(folder) == [f"pool-{os.getpid()}.json"]
    remove_state(folder, STATE)
    remove_state(folder, STATE)
    assert running_hosts(folder) == names(folder) == []


def test_a_host_that_writes_again_has_one_file(tmp_path: Path) -> None:
    """The last word counts."""
    write_state(tmp_path, STATE)
    write_state(tmp_path, like(nodes={}))
    assert running_hosts(tmp_path) == [like(nodes={})]
    assert len(names(tmp_path)) == 1


def test_a_file_that_has_become_anothers_is_not_removed(tmp_path: Path) -> None:
    """A process id is used again some day."""
    later = like(started_at=NOON + timedelta(days=1))
    write_state(tmp_path, later)
    remove_state(tmp_path, STATE)
    assert running_hosts(tmp_path) == [later]


def test_a_state_file_is_for_the_users_eyes_only(tmp_path: Path) -> None:
    """Nobody else may read the file, nor the folder that is made for it."""
    folder = tmp_path / "hosts"
    write_state(folder, STATE)
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The message names the place, the reason and the variable to set."""
    (tmp_path / "file").touch()
    with pytest.raises(StateNotWritable) as caught:
        write_state(tmp_path / "file" / "hosts", STATE)
    assert str(tmp_path / "file" / "hosts") in str(caught.value)
    assert "Not a directory" in str(caught.value)
    assert "RUNTIME_HOST_STATE_DIR" in str(caught.value)


def test_the_file_of_a_dead_process_is_deleted(tmp_path: Path) -> None:
    """A host that was killed could not remove its own."""
    write_state(tmp_path, like(pid=ended_pid()))
    write_state(tmp_path, STATE)
    assert running_hosts(tmp_path) == [STATE]
    assert names(tmp_path) == [f"pool-{os.getpid()}.json"]


def test_rubbish_is_ignored_and_stays(tmp_path: Path) -> None:
    """What this program did not write is not its own to delete."""
    write_state(tmp_path, STATE)
    (tmp_path / "half.json").write_text('{"host": "po')
    (tmp_path / "binary.json").write_bytes(b"\xff\x00")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "no-process.json").write_text(like(pid=0).model_dump_json())
    (tmp_path / "notes.txt").write_text(STATE.model_dump_json())
    (tmp_path / "folder.json").mkdir()
    before = names(tmp_path)
    assert running_hosts(tmp_path) == [STATE]
    assert names(tmp_path) == before


def test_what_is_no_file_of_this_user_is_not_read(tmp_path: Path) -> None:
    """A link, a pipe that nobody writes into, one that is too large; and nothing waits for them."""
    folder, elsewhere = tmp_path / "state", tmp_path / "elsewhere.json"
    write_state(folder, STATE)
    elsewhere.write_text(STATE.model_dump_json())
    (folder / "link.json").symlink_to(elsewhere)
    os.mkfifo(folder / "pipe.json")
    (folder / "large.json").write_text(STATE.model_dump_json() + " " * 2 * 1024 * 1024)
    assert running_hosts(folder) == [STATE]
    assert len(names(folder)) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    """In a folder like /tmp anybody may put one, which could lead a command to a broker of theirs."""
    write_state(tmp_path, STATE)
    os.chown(tmp_path / names(tmp_path)[0], 65534, 65534)
    assert running_hosts(tmp_path) == []
    assert len(names(tmp_path)) == 1


def test_a_host_of_ten_thousand_nodes_is_found(tmp_path: Path) -> None:
    """What is written is never too large to be read."""
    large = like(nodes={f"{number:04}-{'n' * 75}": 1 for number in range(10_000)})
    write_state(tmp_path, large)
    assert running_hosts(tmp_path) == [large]


@pytest.mark.parametrize(
    ("mode", "is_safe"), [(0o777, False), (0o770, False), (0o757, False), (0o1777, True), (0o755, True)]
)
def test_a_folder_in_which_others_may_replace_files_is_refused(tmp_path: Path, mode: int, *, is_safe: bool) -> None:
    """By who writes and by who reads; in one like /tmp, nobody can touch what another has written."""
    tmp_path.chmod(mode)
    if is_safe:
        write_state(tmp_path, STATE)
        assert running_hosts(tmp_path) == [STATE]
        return
    for use in (lambda: write_state(tmp_path, STATE), lambda: running_hosts(tmp_path)):
        with pytest.raises(StateNotSafe) as caught:
            use()
        assert f"mode {mode:04o}" in str(caught.value)
        assert "RUNTIME_HOST_STATE_DIR" in str(caught.value)
    assert names(tmp_path) == []
    # As where a volume of Kubernetes is mounted, which anybody may write.
    write_state(tmp_path / "own", STATE)
    assert running_hosts(tmp_path / "own") == [STATE]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner may do anything in it."""
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(StateNotSafe, match="owner 65534"):
        write_state(tmp_path, STATE)


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    """Hosts of several versions may run at a time."""
    text = STATE.model_dump_json().replace("{", '{"invented_later": [1], ', 1)
    (tmp_path / "newer.json").write_text(text)
    assert running_hosts(tmp_path) == [STATE]


def test_hosts_are_read_by_name_and_age(tmp_path: Path) -> None:
    """The oldest process of a host comes first, whatever its id."""
    old, young = like(pid=os.getppid()), like(started_at=NOON + timedelta(seconds=1))
    first = like(host="alone", started_at=NOON + timedelta(days=1))
    for state in (young, first, old):
        write_state(tmp_path, state)
    assert running_hosts(tmp_path) == [first, old, young]


def test_the_one_host_that_serves_a_node_is_found() -> None:
    """Other hosts do not matter."""
    other = like(host="other", contract_path="/app/other.yaml", nodes={"mask-email": 1})
    assert find_host([other, STATE], "echo") == STATE
    assert find_host([other, STATE], "mask-email") == other


def test_processes_of_one_host_are_as_good_as_one() -> None:
    """The oldest is given."""
    assert find_host([STATE, like(pid=1, started_at=NOON + timedelta(hours=1))], "echo") == STATE


@pytest.mark.parametrize(
    "change",
    [{"contract_path": "/b/host.yaml"}, {"contracts_dir": "/b/nodes"}, {"bootstrap_servers": "b:9092"}],
)
def test_several_hosts_that_serve_a_node_are_told(change: dict[str, str]) -> None:
    """Whoever asks must say which: by contract, by folder of nodes or by broker they are not the same."""
    with pytest.raises(HostNotFound) as caught:
        find_host([STATE, like(host="twin", pid=7, **change)], "echo")
    message = str(caught.value)
    assert message.startswith("several hosts serve 'echo': pool (pid ")
    assert "; twin (pid 7, " in message
    assert message.endswith("Say which with --host HOST.yaml")


def test_where_no_node_is_asked_for_the_only_host_is_meant() -> None:
    """Two processes of one contract are one host; with two hosts, whoever asks must say which."""
    assert find_host([STATE, like(pid=1)], None) == STATE
    with pytest.raises(HostNotFound, match=r"^several hosts run here: pool \(pid .*Say which with --host HOST\.yaml$"):
        find_host([STATE, like(host="twin", pid=7, contract_path="/b/host.yaml")], None)
    with pytest.raises(HostNotFound, match=r"^no host is running here: start one"):
        find_host([], None)


def test_no_host_at_all_is_told_with_what_to_start() -> None:
    """Nothing runs, so nothing can be meant."""
    with pytest.raises(HostNotFound, match=r"^no host is running here: start one with `runtime-host run HOST\.yaml`"):
        find_host([], "echo")


@pytest.mark.parametrize(("asked", "near"), [("score-led", "score-lead"), ("ECHO", "echo")])
def test_a_node_with_a_near_name_is_offered(asked: str, near: str) -> None:
    """A slip of the pen is the likeliest fault."""
    with pytest.raises(HostNotFound) as caught:
        find_host([STATE], asked)
    assert str(caught.value).startswith(f"no running host serves {asked!r}; running: pool (pid ")
    assert str(caught.value).endswith(f"Did you mean {near!r}?")


def test_a_node_that_nobody_serves_is_told_with_who_runs() -> None:
    """Without a near name, the hint is how to say which host is meant."""
    with pytest.raises(HostNotFound) as caught:
        find_host([STATE, like(host="twin", pid=7)], "unlike-all")
    assert "; twin (pid 7, /app/host.yaml, broker 127.0.0.1:9092)" in str(caught.value)
    assert str(caught.value).endswith("Say which host does with --host HOST.yaml")
