"""The state of the stand-in for Consul: what a cluster of its kind keeps, by the documented API. No HTTP here.

Sources: the pages of developer.hashicorp.com/consul/api-docs on kv, session, catalog, health, agent/service,
agent/check, features/blocking and api-structure.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

NODE = "standin"
ADDRESS = "127.0.0.1"
SERF = {"Node": NODE, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "ServiceID": ""}


class Refused(Exception):
    """What Consul answers with a status and a line of text."""

    def __init__(self, status: int, text: str) -> None:
        """Take both."""
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass
class Entry:
    """A key of the store."""

    value: bytes
    flags: int
    create: int
    modify: int
    lock: int = 0
    session: str | None = None


@dataclass
class Session:
    """A session, and when it ends."""

    definition: dict[str, Any]
    created: int
    ends_s: float | None


@dataclass
class ConsulState:
    """One datacenter with one node. `hurry` makes its seconds shorter, so that nobody waits for a session's end.

    Every write has an index of its own; what waits is woken by each.
    """

    now_s: Callable[[], float]
    hurry: float = 1.0
    index: int = 10
    keys: dict[str, Entry] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=lambda: {"keys": 10, "services": 10})
    per_service: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tick(self, table: str) -> int:
        """Count a write, and wake whoever waits."""
        self.index += 1
        self.tables[table] = self.index
        self.wake()
        return self.index

    def wake(self) -> None:
        """Let whoever waits look again."""
        self.changed.set()
        self.changed = asyncio.Event()

    def forget(self) -> None:
        """Restore an older snapshot: the same data, with indexes that have gone back."""
        self.index = 3
        self.tables = {"keys": 3, "services": 3}
        self.per_service = dict.fromkeys(self.per_service, 3)
        self.tombstones.clear()
        for entry in self.keys.values():
            entry.create = entry.modify = 3
        self.wake()

    # --- Keys -----------------------------------------------------------------------------------------------------

    def key_index(self, key: str) -> int:
        """Return the index of one key; where there is none, that of the store."""
        return self.keys[key].modify if key in self.keys else self.tables["keys"]

    def prefix_index(self, prefix: str) -> int:
        """Return the index of the keys that begin so, those that are gone included."""
        written = [it.modify for key, it in self.keys.items() if key.startswith(prefix)]
        gone = [index for key, index in self.tombstones.items() if key.startswith(prefix)]
        return max([*written, *gone], default=self.tables["keys"])

    def told(self, key: str) -> dict[str, Any]:
        """Return an entry without its value."""
        entry = self.keys[key]
        told = {"LockIndex": entry.lock, "Key": key, "Flags": entry.flags}
        told |= {"CreateIndex": entry.create, "ModifyIndex": entry.modify}
        return told | ({"Session": entry.session} if entry.session else {})

    def put(self, key: str, value: bytes, flags: int, how: tuple[str, str] | None) -> bool:
        """Write a key: plainly, or with one of `cas`, `acquire` and `release`. Gives whether it was done."""
        there = self.keys.get(key)
        session, lock = (there.session, there.lock) if there else (None, 0)
        match how:
            case ("cas", index) if int(index) != (there.modify if there else 0):
                return False
            case ("acquire", wanted):
                if wanted not in self.sessions:
                    raise Refused(500, f'rpc error making call: invalid session "{wanted}"')
                if session not in (None, wanted) or self.delays.get(key, 0) > self.now_s():
                    return False
                session, lock = wanted, lock + (session is None)
            case ("release", wanted):
                if session is None or session != wanted:
                    return False
                session = None
        index = self.tick("keys")
        self.tombstones.pop(key, None)
        self.keys[key] = Entry(value, flags, there.create if there else index, index, lock, session)
        return True

    def delete(self, key: str, cas: int | None) -> bool:
        """Delete a key. Gives whether it is gone."""
        if cas is not None and (key not in self.keys or cas != self.keys[key].modify):
            return key not in self.keys and cas != 0
        self.delete_tree(key, exactly=True)
        return True

    def delete_tree(self, prefix: str, *, exactly: bool = False) -> None:
        """Delete the keys that begin so, or the one."""
        gone = [key for key in self.keys if (key == prefix if exactly else key.startswith(prefix))]
        if gone:
            index = self.tick("keys")
            for key in gone:
                del self.keys[key]
                self.tombstones[key] = index

    # --- Sessions -------------------------------------------------------------------------------------------------

    def create_session(self, definition: dict[str, Any]) -> str:
        """Create a session, and give its id."""
        ttl_s = seconds(definition.get("TTL") or "0s")
        if ttl_s and not 10 <= ttl_s <= 86_400:
            raise Refused(500, f"Invalid Session TTL '{ttl_s:g}s', must be between [10s=24h0m0s]")
        identity = str(uuid4())
        self.sessions[identity] = Session(definition, self.tick("sessions"), self._end(ttl_s))
        return identity

    def renew(self, identity: str) -> dict[str, Any]:
        """Let a session live on."""
        if identity not in self.sessions:
            raise Refused(404, f"Session id '{identity}' not found")
        session = self.sessions[identity]
        session.ends_s = self._end(seconds(session.definition.get("TTL") or "0s"))
        return {"ID": identity, "Node": NODE, "CreateIndex": session.created, **session.definition}

    def end_session(self, identity: str) -> None:
        """End a session, and do to its locks what it says."""
        session = self.sessions.pop(identity, None)
        if session is None:
            return
        delay_s = seconds(session.definition.get("LockDelay", "15s")) / self.hurry
        for key, entry in list(self.keys.items()):
            if entry.session != identity:
                continue
            self.delays[key] = self.now_s() + delay_s
            if session.definition.get("Behavior") == "delete":
                self.delete_tree(key, exactly=True)
            else:
                entry.session, entry.modify = None, self.tick("keys")

    def expire(self) -> None:
        """End what is over: sessions that nobody renewed, and checks that nobody passed."""
        now_s = self.now_s()
        for identity in [name for name, it in self.sessions.items() if it.ends_s is not None and it.ends_s < now_s]:
            self.end_session(identity)
        for check in self.checks.values():
            if check["ends_s"] is not None and check["ends_s"] < now_s and check["Status"] != "critical":
                self._set(check, "critical")

    def _end(self, ttl_s: float) -> float | None:
        return self.now_s() + ttl_s / self.hurry if ttl_s else None

    # --- Services -------------------------------------------------------------------------------------------------

    def register(self, definition: dict[str, Any]) -> None:
        """Register an instance, with its check."""
        if not definition.get("Name"):
            raise Refused(400, "Missing service name")
        identity = definition.get("ID") or definition["Name"]
        check = definition.pop("Check", None)
        service = {"Tags": [], "Meta": {}, "Address": "", "Port": 0, **definition, "ID": identity}
        check_id = f"service:{identity}"
        if self.services.get(identity) == service and (check is None) == (check_id not in self.checks):
            return
        self.services[identity] = service
        self.checks.pop(check_id, None)
        if check is not None:
            self._add_check(check_id, service, check)
        self.per_service[service["Name"]] = self.tick("services")

    def deregister(self, identity: str) -> None:
        """Remove an instance."""
        if identity not in self.services:
            text = "Ensure that the service ID is passed, not the service name."
            raise Refused(404, f'Unknown service ID "{identity}". {text}')
        service = self.services.pop(identity)
        self.checks.pop(f"service:{identity}", None)
        self.per_service[service["Name"]] = self.tick("services")

    def report(self, check_id: str, status: str) -> None:
        """Set the state of a check with a time to live."""
        if check_id not in self.checks:
            raise Refused(
                404, f'Unknown check ID "{check_id}". Ensure that the check ID is passed, not the check name.'
            )
        check = self.checks[check_id]
        check["ends_s"] = self._end(check["ttl_s"])
        if check["Status"] != status:
            self._set(check, status)

    def service_index(self, name: str) -> int:
        """Return the index of one service; where there never was one, that of all."""
        return self.per_service.get(name, self.tables["services"])

    def instances(self, name: str, tags: list[str]) -> list[dict[str, Any]]:
        """Return the instances of a service that have all of these tags."""
        return [it for it in self.services.values() if it["Name"] == name and set(tags) <= set(it["Tags"])]

    def checks_of(self, identity: str) -> list[dict[str, Any]]:
        """Return the checks of an instance and of its node."""
        own = self.checks.get(f"service:{identity}")
        told = {key: value for key, value in (own or {}).items() if key not in ("ttl_s", "ends_s")}
        return [told, SERF] if own else [SERF]

    def _add_check(self, check_id: str, service: dict[str, Any], check: dict[str, Any]) -> None:
        ttl_s = seconds(check.get("TTL") or "0s")
        name = f"Service '{service['Name']}' check"
        self.checks[check_id] = {
            "Node": NODE,
            "CheckID": check_id,
            "Name": name,
            "Status": check.get("Status") or "critical",
            "ServiceID": service["ID"],
            "ServiceName": service["Name"],
            "ttl_s": ttl_s,
            "ends_s": self._end(ttl_s),
        }

    def _set(self, check: dict[str, Any], status: str) -> None:
        check["Status"] = status
        self.per_service[check["ServiceName"]] = self.tick("checks")


def seconds(duration: str) -> float:
    """Read a duration as Go writes it, of one unit."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if duration.endswith(unit) and duration.removesuffix(unit).replace(".", "", 1).isdigit():
            return float(duration.removesuffix(unit)) * factor
    raise Refused(400, f'time: invalid duration "{duration}"')
