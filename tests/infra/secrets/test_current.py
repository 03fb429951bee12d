"""Secrets as they were last read: what looks odd of one is told, and it is used as it is."""

import asyncio
from pathlib import Path

import pytest

from omnibase_core.testing import RecordingObserver
from omnibase_infra.host.settings import EnvironmentSecrets
from omnibase_infra.secrets.current import CurrentSecrets, ResolvingReader
from omnibase_infra.secrets.redaction import Redactor


@pytest.mark.parametrize(
    ("kept", "value", "odd"),
    [
        ("s3cret-value", "s3cret-value", None),
        ("s3cret-value\n", "s3cret-value", None),
        ("s3cret value", "s3cret value", None),
        ("s3cret-value\n\n", "s3cret-value\n", "it begins or ends with a line end besides the last one"),
        ("\ufeffs3cret-value", "\ufeffs3cret-value", "it begins with a byte order mark"),
        (" s3cret-value ", " s3cret-value ", "it begins or ends with a space"),
    ],
)
def test_what_was_hardly_meant_is_told(tmp_path: Path, kept: str, value: str, odd: str | None) -> None:
    """As an editor or a shell leaves it: the error of whoever is asked with it would not say so."""
    file = tmp_path / "secret"
    file.write_text(kept, encoding="utf-8", newline="")
    observer = RecordingObserver()
    resolver = EnvironmentSecrets({"ONEX_SECRET_KEY_FILE": str(file)})
    secrets = CurrentSecrets(ResolvingReader(resolver), Redactor(), observer=observer)
    asyncio.run(secrets.load(["KEY"]))
    assert secrets.resolve("KEY") == value
    told = observer.named("secret_suspicious")
    assert [it["secret"] for it in told] == ([] if odd is None else ["KEY"])
    assert odd is None or str(told[0]["what"]).startswith(odd)
    assert "s3cret" not in str(observer.events)
