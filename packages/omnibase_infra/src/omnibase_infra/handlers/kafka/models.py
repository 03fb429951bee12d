"""What contracts may write of `kafka`: targets in a host's, records and requests in a node's. Values only."""

import json
import re
from base64 import b64decode
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from omnibase_core.errors import InvalidTopicName
from omnibase_core.topics import MAJOR_MAX, Owner, Stream, TopicName, check_slug

_TOPIC = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}", re.ASCII)
_OF_THE_ENGINE = "onex-"
_OF_THE_TRACE = frozenset({"traceparent", "tracestate"})


def _checked_text(text: str) -> str:
    text.encode()  # Half a surrogate pair has no UTF-8 form; UnicodeEncodeError is a ValueError, and says where it is.
    return text


def _checked_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


def _checked_topic(topic: str) -> str:
    if _TOPIC.fullmatch(topic) is None:
        raise ValueError(f"{topic!r} is not a valid topic name: letters, digits, '.', '_' and '-', at most 249 of them")
    if topic.startswith("__"):
        raise ValueError(f"topic {topic!r} is Kafka's own")
    if topic.startswith("onex.") and not _takes_commands(topic):
        raise ValueError(f"topic {topic!r} is for hosts alone to write; of theirs, only a node's commands may be sent")
    return topic


def _takes_commands(topic: str) -> bool:
    try:
        name = TopicName.parse(topic)
    except InvalidTopicName:
        return False
    return name.stream is Stream.COMMAND and name.owner is Owner.NODE


def _checked_headers(headers: dict[str, str | None]) -> dict[str, str | None]:
    for name in headers:
        if not name:
            raise ValueError("a header needs a name")
        if name.lower().startswith(_OF_THE_ENGINE) or name.lower() in _OF_THE_TRACE:
            raise ValueError(f"header {name!r} is the host's own; leave it out")
    return headers


def _checked_slug(text: str) -> str:
    try:
        return check_slug(text, what="name")
    except InvalidTopicName as error:
        raise ValueError(str(error)) from error


Name = Annotated[str, AfterValidator(_checked_slug)]
Text = Annotated[str, AfterValidator(_checked_text)]
Topic = Annotated[str, AfterValidator(_checked_topic)]


class _KafkaModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class KafkaHandlerSettings(_KafkaModel):
    """There is nothing to set: it publishes by the host's own producer, which `bus` describes."""


class KafkaTarget(_KafkaModel):
    """Where the nodes of this `target` may publish, or whom they may ask: `topics` or `node`.

    - `topics`: the topics that a request may name; the first is meant where it names none. They have to be there. A
      node's commands are among what may be listed; answers, dead letters and logs are for hosts alone to write.
    - `node`: the node that is asked, of the same environment and tenant; `major`: the first number of its version.
    - `pool`: the pool that hosts it, by default this host's own. Its hosts have `requests: true`.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"topics": ["audit"]}]})

    topics: list[Topic] = Field(default_factory=list)
    node: Name | None = None
    major: Annotated[int, Field(ge=0, le=MAJOR_MAX)] = 1
    pool: Name | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if bool(self.topics) == (self.node is not None):
            raise ValueError("a target has topics to publish to, or a node to ask: write topics or node")
        if self.node is None and self.model_fields_set & {"major", "pool"}:
            raise ValueError("major and pool are those of a node; remove them, or write node")
        return self


class KafkaRecord(_KafkaModel):
    """One record for a topic of the node's target. It has one value, `json`, `text` or `base64`, or none: `tombstone`.

    - `topic`: one of the target's `topics`; without it, the first.
    - `key`: records of one key keep their order. Without it, the record goes to any partition.
    - `headers`: names with texts, or null. Those that begin with `onex-`, and those of the trace, are the host's.
    - `json`: a JSON value, null too. `text`: sent in UTF-8. `base64`: bytes.
    - `tombstone`: true for a record without a value, by which a compacted topic forgets its key. An expression beside a
      value decides for each command: where it is true, the value is left out.

    What was published may come twice, as an answer may: the header `onex-causation-id` names the command, by which a
    reader can tell a repeat.
    """

    topic: Topic | None = None
    key: Text | None = None
    headers: Annotated[dict[Text, Text | None], AfterValidator(_checked_headers)] = Field(default_factory=dict)
    json_value: Annotated[JsonValue, Field(examples=[{"action": "login"}])] = Field(default=None, alias="json")
    text: Text | None = None
    base64: Annotated[str, AfterValidator(_checked_base64)] | None = None
    tombstone: bool = False

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        given = sum(["json_value" in self.model_fields_set, self.text is not None, self.base64 is not None])
        if given > 1 or not (given or self.tombstone):
            raise ValueError("a record has one value: json, text, base64, or tombstone: true")
        return self

    @property
    def value(self) -> bytes | None:
        """The value as it is sent."""
        if self.tombstone:
            return None
        if self.text is not None:
            return self.text.encode()
        if self.base64 is not None:
            return b64decode(self.base64)
        return json.dumps(self.json_value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class KafkaReceipt(_KafkaModel):
    """The broker has the record, or it will have it together with the answer where the host is one of exactly once.

    - `topic`: where it is.
    """

    topic: Annotated[str, Field(examples=["audit"])]


class KafkaRequest(_KafkaModel):
    """A command to the node of the target, whose answer is waited for: at most `delivery.timeout_s`.

    - `operation`: may be left out where the node has one.
    - `payload`, `metadata`: those of the command.
    - `expect_errors`: codes of errors of the node that are a result here; any other is an error of this call.

    A request is made anew with each attempt, with the same id; so a node that is asked may serve it more than once.
    """

    operation: Text | None = None
    payload: Annotated[dict[str, JsonValue], Field(examples=[{"text": "hello"}])] = Field(default_factory=dict)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    expect_errors: list[Text] = Field(default_factory=list)


class KafkaAnswerError(_KafkaModel):
    """The error of an answer, as the node gave it.

    - `code`, `message`, `retryable`, `details`: of the envelope's error.
    """

    code: str
    message: str = ""
    retryable: bool = False
    details: dict[str, Any] = Field(default_factory=dict)


class KafkaAnswer(_KafkaModel):
    """The answer of the node.

    - `payload`: its result; empty beside an error.
    - `error`: null, or an error that the request expects.
    """

    payload: Annotated[dict[str, JsonValue], Field(examples=[{"text": "hello"}])] = Field(default_factory=dict)
    error: KafkaAnswerError | None = None
