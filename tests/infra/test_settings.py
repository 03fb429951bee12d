"""What the environment says: settings with their defaults, and secrets that are found and never shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from omnibase_core.errors import SecretMissing
from omnibase_infra.settings import (
    EnvironmentSecrets,
    InvalidSetting,
    MalformedSecretReference,
    Settings,
    read_settings,
    resolve_secrets,
    resolved,
)

HOME = {"HOME": "/home/ada"}
STATE = Path("/home/ada/.local/state/runtime-host")

TEXTS = st.text().filter(lambda text: "${" not in text)
NO_REFERENCES = st.sampled_from(["$", "${other.KEY}", "{secret.KEY}", "secret.KEY", "${SECRET.KEY}", "$ {secret.KEY}"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | NO_REFERENCES,
    lambda children: st.lists(children) | st.dictionaries(st.text(), children) | st.tuples(children, children),
)


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
        ({"HOME": ""}, "HOME is not set, so there is no place for state; expected RUNTIME_HOST_STATE_DIR to name a"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(environ: Mapping[str, str], message: str) -> None:
    """The message says what was found and what is expected."""
    with pytest.raises(InvalidSetting) as caught:
        read_settings({**HOME, **environ})
    assert str(caught.value).startswith(message)


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


def test_references_are_replaced_wherever_they_stand() -> None:
    """The tree that is given stays as it was, and a secret that looks like a reference is no reference."""
    tree = {"user": "ada", "keys": ["${secret.A}", {"deep": "${secret.B_2}"}], "pair": ("${secret.A}", 1)}
    secrets = EnvironmentSecrets({"ONEX_SECRET_A": "1", "ONEX_SECRET_B_2": "${secret.A}"})
    resolved = resolve_secrets(tree, secrets)
    assert resolved == {"user": "ada", "keys": ["1", {"deep": "${secret.A}"}], "pair": ("1", 1)}
    assert tree["keys"] == ["${secret.A}", {"deep": "${secret.B_2}"}]


def test_malformed_references_are_refused_with_their_places() -> None:
    """All places are told at once, and never the text, which may hold a secret."""
    tree = {"a": ["Bearer ${secret.KEY}", "${secret.KEY}"], "b": {"c": "${ secret.hidden }"}, "d": "${secret.KEY}\n"}
    with pytest.raises(MalformedSecretReference, match=r"^a\.0, b\.c, d: expected the whole value") as caught:
        resolve_secrets(tree, EnvironmentSecrets({"ONEX_SECRET_KEY": "1"}))
    assert "Bearer" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    with pytest.raises(MalformedSecretReference, match=r"^value: "):
        resolve_secrets("${secret}", EnvironmentSecrets({}))


def test_all_missing_secrets_are_told_at_once() -> None:
    """Each has one line that says what to set, however often it is referred to."""
    tree = {"a": "${secret.ONE}", "b": ["${secret.TWO}", "${secret.THERE}"], "c": "${secret.ONE}"}
    with pytest.raises(SecretMissing) as caught:
        resolve_secrets(tree, EnvironmentSecrets({"ONEX_SECRET_THERE": "1"}))
    lines = str(caught.value).splitlines()
    assert [line.split(" is not there: ")[0] for line in lines] == ["secret ONE", "secret TWO"]
    assert lines[0].endswith("set ONEX_SECRET_ONE to its value, or ONEX_SECRET_ONE_FILE to a file that holds it")


@given(TREES)
def test_a_tree_without_references_is_unchanged(tree: Any) -> None:
    """Whatever the tree holds, no secret is asked for."""
    assert resolve_secrets(tree, EnvironmentSecrets({})) == tree


def test_a_secret_field_is_resolved_and_stays_secret() -> None:
    """A model may hold its secrets as such: a reference in one is resolved like any other."""

    class Login(BaseModel):
        password: SecretStr

    login = resolved(Login(password=SecretStr("${secret.A}")), EnvironmentSecrets({"ONEX_SECRET_A": "s3cret"}))
    assert login.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(login)
    with pytest.raises(MalformedSecretReference, match="password"):
        resolved(Login(password=SecretStr("x${secret.A}")), EnvironmentSecrets({}))
