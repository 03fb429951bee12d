"""References to secrets: replaced wherever they stand, and told where they cannot be."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, SecretStr

from omnibase_core.errors import SecretMissing
from omnibase_infra.host.settings import EnvironmentSecrets
from omnibase_infra.secrets.current import (
    MalformedSecretReference,
    SecretUnfit,
    resolve_secrets,
    resolved,
    secrets_of,
)

TEXTS = st.text().filter(lambda text: "${" not in text)
NO_REFERENCES = st.sampled_from(["$", "${other.KEY}", "{secret.KEY}", "secret.KEY", "${SECRET.KEY}", "$ {secret.KEY}"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | NO_REFERENCES,
    lambda children: st.lists(children) | st.dictionaries(st.text(), children) | st.tuples(children, children),
)


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


def _short(text: str) -> str:
    if len(text) > len("${secret.KEY}"):
        raise ValueError(f"found {text!r}, expected less")
    return text


class Settings(BaseModel):
    """Settings with a secret that is one, and a text with a bound."""

    password: SecretStr = SecretStr("")
    texts: list[Annotated[str, AfterValidator(_short)]] = []


def test_settings_tell_which_secrets_they_need_and_get_them() -> None:
    """What is a secret by its type stays one."""
    settings = Settings(password=SecretStr("${secret.KEY}"), texts=["${secret.A}", "plain"])
    assert secrets_of(settings) == {"KEY", "A"}
    found = resolved(settings, EnvironmentSecrets({"ONEX_SECRET_KEY": "s3cret", "ONEX_SECRET_A": "1"}))
    assert found == Settings(password=SecretStr("s3cret"), texts=["1", "plain"])


def test_a_value_that_does_not_fit_is_told_by_its_place() -> None:
    """Neither the message nor what caused it holds the value."""
    with pytest.raises(SecretUnfit, match=r"^texts\.1: the value of the secret cannot stand here$") as caught:
        resolved(
            Settings(texts=["a", "${secret.KEY}"]), EnvironmentSecrets({"ONEX_SECRET_KEY": "far too long a s3cret"})
        )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
