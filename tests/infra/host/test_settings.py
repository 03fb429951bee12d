"""What the environment says: settings with their defaults, and secrets that are found and never shown."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from omnibase_core.contracts.secrets import EnvironmentSecret, FileSecret
from omnibase_core.errors import SecretMissing
from omnibase_infra.host.settings import (
    EnvironmentSecrets,
    InvalidSetting,
    Settings,
    process_state_dir,
    read_settings,
    worker_environment,
)

HOME = {"HOME": "/home/ada"}
STATE = Path("/home/ada/.local/state/runtime-host")


def test_every_setting_has_a_default() -> None:
    """The home folder is all that is needed."""
    assert read_settings(HOME) == Settings(log_level="info", log_format="auto", state_dir=STATE)


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"RUNTIME_HOST_LOG_LEVEL": "debug"}, "log_level", "debug"),
        ({"RUNTIME_HOST_LOG_LEVEL": "WARNING"}, "log_level", "warning"),
        ({"RUNTIME_HOST_LOG_LEVEL": ""}, "log_level", "info"),
        ({"RUNTIME_HOST_LOG_FORMAT": "Console"}, "log_format", "console"),
        ({"RUNTIME_HOST_LOG_FORMAT": ""}, "log_format", "auto"),
        ({"RUNTIME_HOST_STATE_DIR": "/run/hosts", "XDG_STATE_HOME": "/state"}, "state_dir", Path("/run/hosts")),
        ({"RUNTIME_HOST_STATE_DIR": ""}, "state_dir", STATE),
        ({"XDG_STATE_HOME": "/state"}, "state_dir", Path("/state/runtime-host")),
        ({"XDG_STATE_HOME": "state"}, "state_dir", STATE),
        ({"HOME": ""}, "state_dir", None),
    ],
)
def test_each_variable_sets_its_setting(environ: Mapping[str, str], field: str, value: object) -> None:
    """The case of a word does not matter, and an empty variable counts as none."""
    assert getattr(read_settings({**HOME, **environ}), field) == value


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"RUNTIME_HOST_LOG_LEVEL": "loud"},
            "RUNTIME_HOST_LOG_LEVEL is 'loud'; expected one of: debug, info, warning, error",
        ),
        ({"RUNTIME_HOST_LOG_FORMAT": "xml"}, "RUNTIME_HOST_LOG_FORMAT is 'xml'; expected one of: auto, json, console"),
        ({"RUNTIME_HOST_STATE_DIR": "here"}, "RUNTIME_HOST_STATE_DIR is 'here'; expected an absolute path"),
        ({"HOME": "ada"}, "HOME is 'ada'; expected an absolute path"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(environ: Mapping[str, str], message: str) -> None:
    """The message says what was found and what is expected."""
    with pytest.raises(InvalidSetting) as caught:
        read_settings({**HOME, **environ})
    assert str(caught.value).startswith(message)


def test_workers_get_what_an_interpreter_heeds_and_no_secret() -> None:
    """By a list of what they get: what is not on it, they do not."""
    kept = {
        "PATH": "/bin",
        "LANG": "de",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHOME": "/opt/python",
        "PYTHONHASHSEED": "1",
        "VIRTUAL_ENV": "/venv",
        "LD_LIBRARY_PATH": "/lib",
        "OMP_NUM_THREADS": "1",
    }
    withheld = {
        "ONEX_SECRET_KEY": "1234",
        "AWS_SECRET_ACCESS_KEY": "1234",
        "PGPASSWORD": "1234",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=1234",
        "MY_PATH": "1234",
        "PATH_TO_KEY": "1234",
        "PYTHONPATH": "/opentelemetry",
        "HOME": "/home/ada",
    }
    assert worker_environment({**kept, **withheld}) == kept


def test_who_looks_for_hosts_needs_a_place_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host needs none, and so HOME may be missing."""
    for variable in ("HOME", "XDG_STATE_HOME", "RUNTIME_HOST_STATE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InvalidSetting) as caught:
        process_state_dir()
    assert str(caught.value) == (
        "HOME is not set, so there is no place for state; expected RUNTIME_HOST_STATE_DIR to name a folder"
    )


def test_a_secret_is_the_value_of_its_variable(tmp_path: Path) -> None:
    """The variable comes before the file, unless it is empty."""
    file = tmp_path / "key"
    file.write_text("from the file")
    environ = {"ONEX_SECRET_KEY": " as it is\n", "ONEX_SECRET_KEY_FILE": str(file)}
    assert EnvironmentSecrets(environ).resolve("KEY") == " as it is\n"
    assert EnvironmentSecrets({**environ, "ONEX_SECRET_KEY": ""}).resolve("KEY") == "from the file"


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"s3cret", "s3cret"), (b"s3cret\n", "s3cret"), (b"s3cret\r\n", "s3cret"), (b" a\nb \n\n", " a\nb \n")],
)
def test_a_secret_from_a_file_loses_one_newline(tmp_path: Path, content: bytes, secret: str) -> None:
    """Editors add one at the end; all else belongs to the secret."""
    (tmp_path / "key").write_bytes(content)
    assert EnvironmentSecrets({"ONEX_SECRET_KEY_FILE": str(tmp_path / "key")}).resolve("KEY") == secret


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"\xff\xfes3cret", "it is not UTF-8 text"), (b"\n", "is empty")],
)
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """The message names the variable and shows neither path nor content, since either may be the secret."""
    if content is not None:
        (tmp_path / "s3cret").write_bytes(content)
    with pytest.raises(SecretMissing, match=reason) as caught:
        EnvironmentSecrets({"ONEX_SECRET_KEY_FILE": str(tmp_path / "s3cret")}).resolve("KEY")
    assert "ONEX_SECRET_KEY_FILE" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_is_where_the_host_contract_says(tmp_path: Path) -> None:
    """It is not looked for anywhere else, and what is not there is told by its place in the contract."""
    (tmp_path / "key").write_text("from the file\n")
    sources = {
        "KEY": FileSecret(file=str(tmp_path / "key")),
        "LOST": FileSecret(file=str(tmp_path / "s3cret")),
        "NAME": EnvironmentSecret(env="PAYMENT_KEY"),
    }
    secrets = EnvironmentSecrets({"PAYMENT_KEY": "1", "ONEX_SECRET_KEY": "2", "ONEX_SECRET_NAME": "3"}, sources)
    assert [secrets.resolve("KEY"), secrets.resolve("NAME")] == ["from the file", "1"]
    with pytest.raises(
        SecretMissing, match=r"^the file that secrets\.LOST\.file names cannot be read: No such"
    ) as caught:
        secrets.resolve("LOST")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SecretMissing, match=r"^secret NAME is not there: set PAYMENT_KEY to its value"):
        EnvironmentSecrets({"ONEX_SECRET_NAME": "3"}, sources).resolve("NAME")
