"""Topic and group names: between parts and text. Pure.

The scheme is `onex.<app|sys>.<environment>.<tenant>.<cmd|evt|log|retry|dlq>.<node|runtime>.<slug>.v<major>`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from omnibase_core.errors import InvalidTopicName

SLUG_PATTERN = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
SLUG_LENGTH_MAX = 48
"""Four slugs and the fixed parts stay below Kafka's limit of 249 characters."""
MAJOR_MAX = 999_999
"""The largest major version that a contract can have."""

_SLUG = re.compile(SLUG_PATTERN)
_NAME = re.compile(
    rf"onex\.(?P<realm>app|sys)\.(?P<environment>{SLUG_PATTERN})\.(?P<tenant>{SLUG_PATTERN})"
    rf"\.(?P<stream>cmd|evt|log|retry|dlq)\.(?P<owner>node|runtime)\.(?P<slug>{SLUG_PATTERN})\.v(?P<major>0|[1-9]\d{{0,5}})",
    re.ASCII,
)


class Realm(StrEnum):
    """Who reads a topic: applications, or the operators of the system."""

    APP = "app"
    SYS = "sys"


class Stream(StrEnum):
    """What a topic carries."""

    COMMAND = "cmd"
    EVENT = "evt"
    LOG = "log"
    RETRY = "retry"
    DEAD_LETTER = "dlq"


class Owner(StrEnum):
    """Whose topic it is: one node's, or that of a host or its pool."""

    NODE = "node"
    RUNTIME = "runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicName:
    """A topic's name in its parts. `str()` gives the name, `TopicName.parse` reads it back."""

    realm: Realm
    environment: str
    tenant: str
    stream: Stream
    owner: Owner
    slug: str
    major: int

    def __post_init__(self) -> None:
        """Refuse parts that would not read back. Raises InvalidTopicName."""
        for part in ("environment", "tenant", "slug"):
            check_slug(getattr(self, part), what=part)
        if not 0 <= self.major <= MAJOR_MAX:
            raise InvalidTopicName(f"the major version is not a number from 0 to {MAJOR_MAX}")

    def __str__(self) -> str:
        """The name as Kafka knows it."""
        return ".".join(
            ("onex", self.realm, self.environment, self.tenant, self.stream, self.owner, self.slug, f"v{self.major}")
        )

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a name. Raises InvalidTopicName, and nothing else, for any other text."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise InvalidTopicName(f"{name!r} is not onex.<realm>.<environment>.<tenant>.<stream>.<owner>.<slug>.v<n>")
        return cls(
            realm=Realm(match["realm"]),
            environment=match["environment"],
            tenant=match["tenant"],
            stream=Stream(match["stream"]),
            owner=Owner(match["owner"]),
            slug=match["slug"],
            major=int(match["major"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Where a host lives: the environment and the tenant that all its names share."""

    environment: str
    tenant: str

    def command(self, node: str, major: int) -> str:
        """Topic from which a node takes its commands."""
        return self._name(Realm.APP, Stream.COMMAND, Owner.NODE, node, major)

    def event(self, node: str, major: int) -> str:
        """Topic to which a node's answers go."""
        return self._name(Realm.APP, Stream.EVENT, Owner.NODE, node, major)

    def dead_letter(self, pool: str) -> str:
        """Topic of what a pool could not serve."""
        return self._name(Realm.APP, Stream.DEAD_LETTER, Owner.RUNTIME, pool, 1)

    def requests(self, pool: str) -> str:
        """Topic of what nodes ask the nodes of a pool."""
        return self._name(Realm.APP, Stream.COMMAND, Owner.RUNTIME, pool, 1)

    def retry(self, pool: str) -> str:
        """Topic of commands that wait for another attempt and may be overtaken."""
        return self._name(Realm.APP, Stream.RETRY, Owner.RUNTIME, pool, 1)

    def log(self, host: str) -> str:
        """Topic of a host's own log lines."""
        return self._name(Realm.SYS, Stream.LOG, Owner.RUNTIME, host, 1)

    def group(self, pool: str) -> str:
        """Consumer group of a pool: independent of the host's name, so that hosts can be added and renamed."""
        return f"onex.{self.environment}.{self.tenant}.{pool}"

    def _name(self, realm: Realm, stream: Stream, owner: Owner, slug: str, major: int) -> str:
        return str(
            TopicName(
                realm=realm,
                environment=self.environment,
                tenant=self.tenant,
                stream=stream,
                owner=owner,
                slug=slug,
                major=major,
            )
        )


def check_slug(text: str, *, what: str) -> str:
    """Return the slug, or raise InvalidTopicName: lower-case words joined by hyphens, at most 48 characters."""
    if len(text) > SLUG_LENGTH_MAX or _SLUG.fullmatch(text) is None:
        raise InvalidTopicName(
            f"{what} {text!r} is not lower-case words joined by hyphens, at most {SLUG_LENGTH_MAX} characters"
        )
    return text
