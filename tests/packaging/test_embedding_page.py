"""docs/embedding.md, done by its reader: each program of the page prints what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wheels import ROOT

_PROGRAMS = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```\n",
    (ROOT / "docs" / "embedding.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(("program", "printed"), _PROGRAMS, ids=["a host", "core alone"])
def test_the_page_does_what_it_says(program: str, printed: str, tmp_path: Path) -> None:
    """From the root of the repository, whose contracts the page names."""
    environment = {**os.environ, "RUNTIME_HOST_STATE_DIR": str(tmp_path), "RUNTIME_HOST_LOG_LEVEL": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout == printed, done.stderr
