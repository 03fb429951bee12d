"""Nodes whose commands end in dead letters by the dozen: each rests, for its neighbours to be served. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from omnibase_core.engine.in_flight import InFlightCommand, Run

_FLOOD = 50
"""So many dead letters of a node in one batch are a flood."""
_REST_S = 0.001
"""For each of them: a node that floods has a thousand a second, some hundredths of what the loop can do."""
_BESIDE_S = 1.0
"""For so long after its last command, a neighbour counts as one that is to be served."""


class DeadLetterThrottle:
    """Says how long a topic has to rest. One that is alone never rests: nobody would gain by it."""

    def __init__(self) -> None:
        """Start without a flood."""
        self._seen_s: dict[str, float] = {}
        self._until_s: dict[str, float] = {}

    def rests(
        self, topics: Iterable[str], served: Sequence[InFlightCommand | Run], now_s: float
    ) -> Mapping[str, float]:
        """Look at a batch: its topics, and what was served at once. Gives who rests, and for how many seconds.

        What came along while a topic was about to rest makes it rest for longer.
        """
        self._seen_s.update(dict.fromkeys(topics, now_s))
        letters: Counter[str] = Counter()
        for work in served:
            if work.letters:
                letters[work.topic] += work.letters
        return {
            topic: self._rest_s(topic, count, now_s)
            for topic, count in letters.items()
            if count >= _FLOOD and self._has_company(topic, now_s)
        }

    def _rest_s(self, topic: str, letters: int, now_s: float) -> float:
        self._until_s[topic] = max(now_s, self._until_s.get(topic, 0.0)) + letters * _REST_S
        return self._until_s[topic] - now_s

    def _has_company(self, topic: str, now_s: float) -> bool:
        return any(now_s - seen_s < _BESIDE_S for other, seen_s in self._seen_s.items() if other != topic)
