"""What a host waits for in its consumer group: while it joins, while members that died still count as alive.

The broker does not say which member has died. It says whether the group is being dealt out anew, who is a member, and
what each of them was last assigned: that is enough to say who is waited for, and for how long at the most. With KIP-848
only the wait itself is known.
"""

import re
import struct
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_TELL_EVERY_S = 5.0
_ASK_S = 3.0
_NAMED_MAX = 3
_SOON_S = 60.0
"""After so long a wait of which nothing more is known is told as often, and no more."""
_DEALING = frozenset({"PreparingRebalance", "CompletingRebalance"})
_UNKNOWN = frozenset({"", "Dead"})
"""What is said of a group that this way of asking does not know: one that is not there, or one of KIP-848."""
_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class GroupTimes:
    """After how many seconds the broker drops a member: one that died, and one that lives and does not come back.

    `session_s` is None where the broker decides on it, with KIP-848.
    """

    session_s: float | None
    poll_s: float


class Members(NamedTuple):
    """The host in its group: the ids of its consumers, and how many partitions they own together."""

    ids: Collection[str]
    owned: int


@dataclass(frozen=True, slots=True)
class GroupView:
    """The group as its coordinator described it: `others` are members with the partitions that each was last assigned.

    While `dealing`, this host gets partitions only when each of the others has come back or is dropped.
    """

    state: str = "not known"
    dealing: bool = False
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """How many partitions the others have been assigned."""
        return sum(self.others.values())

    @property
    def named(self) -> str:
        """The others in a few words, those with the most partitions first."""
        most = sorted(self.others.items(), key=lambda it: (-it[1], it[0]))
        names = [f"{name} ({_counted(count)})" for name, count in most[:_NAMED_MAX]]
        if (more := len(most) - _NAMED_MAX) > 0:
            names.append(f"{more} more")
        return ", ".join(names)


def view_of(found: Sequence[Any], own: Collection[str]) -> GroupView:
    """Look at what was found of a group as the host with these member ids does."""
    if not found or found[0].error is not None or found[0].state in _UNKNOWN:
        return GroupView()
    state = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found[0].state).lower()
    others: dict[str, int] = {}
    for member in found[0].members:
        if member.id not in own:
            # The replicas of a host, and its consumers, have one name.
            name = f"{member.client_id} at {member.client_host.lstrip('/')}"
            others[name] = others.get(name, 0) + partitions_in(member.assignment)
    return GroupView(state, dealing=found[0].state in _DEALING, others=others)


def partitions_in(assignment: bytes) -> int:
    """Return how many partitions a member's assignment names, as Kafka's consumer protocol writes it; 0 for others'.

    That is a version (int16) and an array (int32) of topics: a name (int16 and UTF-8), and an array of int32.
    """
    count, at = 0, _INT16.size
    try:
        topics, at = _INT32.unpack_from(assignment, at)[0], at + _INT32.size
        for _ in range(topics):
            length, at = _INT16.unpack_from(assignment, at)[0], at + _INT16.size
            at += max(0, length)
            numbers, at = max(0, _INT32.unpack_from(assignment, at)[0]), at + _INT32.size
            count, at = count + numbers, at + numbers * _INT32.size
    except struct.error:
        return 0
    return count


def _counted(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWait:
    """What a host waits for, since when, and since when the group has been as it is; in monotonic time."""

    group: str
    owned: int
    since_s: float
    view: GroupView
    view_since_s: float
    times: GroupTimes

    def described(self, now_s: float) -> str:
        """Describe it in one sentence."""
        for_s = f"{now_s - self.since_s:.0f} s"
        joins = f"it has been joining the group {self.group} for {for_s}"
        if self.view.dealing:
            begin = f"the group {self.group} has been rebalancing for {for_s}" if self.owned else joins
            return f"{begin}{self._for_whom(now_s)}"
        if self.view.held:
            return f"the group {self.group} has had none for it for {for_s}: {self.view.named} have them"
        return joins

    def remaining_max_s(self, now_s: float) -> float | None:
        """Return for how long the broker may still wait for the others; None where only the broker knows."""
        if self.times.session_s is None or not self.view.dealing:
            return None
        return round(max(0.0, self._bound_s(self.times.session_s, now_s) - (now_s - self.view_since_s)), 1)

    def _bound_s(self, session_s: float, now_s: float) -> float:
        """Return the longest that the group stays as it is: once all sessions are over, who is left is alive."""
        return session_s if now_s - self.view_since_s <= session_s else self.times.poll_s

    def _for_whom(self, now_s: float) -> str:
        if not self.view.others:
            return ""
        whom = self.view.named if len(self.view.others) == 1 else f"one or more of {self.view.named}"
        remaining_max_s = self.remaining_max_s(now_s)
        when = "when the broker ends its session" if remaining_max_s is None else f"within {remaining_max_s:.0f} s"
        return f", and waits for {whom}; the partitions of a dead member are not served until it is removed, {when}"


class GroupWatch:
    """Looks at the group from the thread of another watch, and tells every few seconds while the host waits."""

    def __init__(
        self, group: str, times: GroupTimes, *, reachable: Callable[[], bool], event: Callable[..., None]
    ) -> None:
        """Begin to wait: the host has nothing to serve yet. While the broker is not reachable, nothing is told."""
        self._group = group
        self._times = times
        self._reachable = reachable
        self._event = event
        self._wait: GroupWait | None = None
        self._told_s = float("-inf")
        self._told_spare = False
        self._unsettled_since_s: float | None = None
        self._note(GroupView(), owned=0, now_s=time.monotonic())

    @property
    def waits(self) -> bool:
        """Whether the host waits for its group right now."""
        return self._wait is not None

    def survey(self, owned: int) -> str | None:
        """Describe what the host, which owns so many partitions now, waits for; None: nothing. Any thread's.

        A rebalance that leaves it its partitions is worth saying once it takes long.
        """
        wait, now_s = self._wait, time.monotonic()
        if wait is None or bool(owned) != bool(wait.owned) or (owned and now_s - wait.since_s < _TELL_EVERY_S):
            return None
        return wait.described(now_s)

    def look(self, admin: AdminClient, members: Members) -> None:
        """Ask the coordinator, note what it says, and tell what is due."""
        view, owned = self._ask(admin, members.ids), members.owned
        now_s = time.monotonic()
        self._note(view, owned=owned, now_s=now_s)
        if self._wait is not None:
            self._tell(self._wait, now_s)
        elif self._unsettled_since_s is not None:
            after_s = round(now_s - self._unsettled_since_s, 1)
            self._event("info", "rebalance_completed", group=self._group, after_s=after_s, assigned=owned)
            self._unsettled_since_s, self._told_spare = None, False

    def _ask(self, admin: AdminClient, own: Collection[str]) -> GroupView:
        try:
            # Not describe_consumer_groups: where a broker goes away at the wrong moment, it aborts the process
            # (librdkafka issue 4605, seen with 2.16.1). Nothing else tells of groups of KIP-848.
            return view_of(admin.list_groups(self._group, timeout=_ASK_S), own)
        except KafkaException:
            return GroupView()

    def _note(self, view: GroupView, *, owned: int, now_s: float) -> None:
        if owned and not view.dealing:
            self._wait = None
            return
        before = self._wait
        goes_on = before is not None and bool(before.owned) == bool(owned)
        is_same = before is not None and before.view.state == view.state
        self._wait = GroupWait(
            group=self._group,
            owned=owned,
            since_s=before.since_s if before is not None and goes_on else now_s,
            view=view,
            view_since_s=before.view_since_s if before is not None and is_same else now_s,
            times=self._times,
        )

    def _tell(self, wait: GroupWait, now_s: float) -> None:
        is_spare = not wait.view.dealing and bool(wait.view.held)
        since_s = max(self._told_s, wait.since_s)
        is_vague = not wait.view.others and now_s - wait.since_s > _SOON_S
        if (
            now_s - since_s < (_SOON_S if is_vague else _TELL_EVERY_S)
            or (is_spare and self._told_spare)
            or not self._reachable()
        ):
            return
        self._told_s, self._told_spare = now_s, is_spare
        if self._unsettled_since_s is None:
            self._unsettled_since_s = wait.since_s
        self._event(
            # A host more than there are partitions is told once, and is no trouble.
            "info" if is_spare else "warning",
            "rebalance_pending",
            group=self._group,
            waited_s=round(now_s - wait.since_s, 1),
            assigned=wait.owned,
            state=wait.view.state,
            waiting_for=wait.view.named,
            partitions_held=wait.view.held,
            remaining_max_s=wait.remaining_max_s(now_s),
            reason=wait.described(now_s),
        )
