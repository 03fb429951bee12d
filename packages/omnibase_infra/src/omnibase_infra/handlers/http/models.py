"""What a node's contract writes of `http`, and what its expressions see: requests and results. Values only."""

import base64
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag, model_validator

from omnibase_infra.handlers.http.values import (
    Host,
    HttpModel,
    Parameters,
    Scalar,
    Status,
    Text,
    checked_header_value,
    checked_headers,
    checked_path,
)
from omnibase_infra.http.values import Segment, form_of_path


def _checked_base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text


Base64 = Annotated[str, AfterValidator(_checked_base64)]
"""Bytes, as standard base64."""


RequestPath = Annotated[
    Annotated[str, AfterValidator(checked_path), Tag("text")] | Annotated[list[Segment], Tag("segments")],
    Discriminator(form_of_path),
]


class Part(HttpModel):
    """One part of a multipart body: a field, or a file where it has a `filename`. Its content is `text` or `bytes`."""

    name: Annotated[Text, Field(min_length=1)]
    text: Text | None = None
    bytes_: Base64 | None = Field(default=None, alias="bytes")
    filename: Text | None = None
    content_type: Annotated[str, AfterValidator(checked_header_value), Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_one_content(self) -> Self:
        if (self.text is None) == (self.bytes_ is None):
            raise ValueError("a part has one content: text or bytes")
        return self


class Cursor(HttpModel):
    """The next page is the same request with the value at `json` of this page's body as the parameter `query`.

    Where there is no such value, or it is null or "", this page was the last.
    """

    json_path: Annotated[list[Text], Field(min_length=1, alias="json")]
    query: Annotated[Text, Field(min_length=1)]


class Pages(HttpModel):
    """How to go on to further pages, and at most how many are read. `link`: a `Link` header, rel="next" (RFC 8288)."""

    max: Annotated[int, Field(ge=1, le=1000)] = 10
    next: Literal["link"] | Cursor = "link"


class HttpRequest(HttpModel):
    """One request to the node's target.

    - `method`: of HTTP.
    - `path`: a list of segments, each escaped as one: it holds neither slashes nor what a server could take for
      dots; or a text, which is fixed by the contract. What comes from a command belongs into a list: [users, "${
      payload.id }"].
    - `host`: another of the target's `allowed_hosts` than its own.
    - `query` and `form` leave nulls out; so do `headers`, whose values are written as those of a query. By them a
      request can be conditional: `if-none-match: "${ payload.etag }"` gives `result.status` 304 where the server has
      nothing new.
    - A body is one of `json`, `form`, `text`, `bytes` (base64) and `multipart`.
    - `read: bytes` gives the reply's body as base64 in `result.bytes`.
    - `redirects`: how many are followed, 0 to 10; where it is 0, a redirect is a result. Each is checked as the request
      was: one that leads out of the target is the error `redirect_refused`.
    - `pages`: of a GET whose replies are JSON; their bodies are `result.pages`.
    - `expect`: the statuses that are a result; any other is the error `http_status`. Without it, every status is a
      result but 5xx, 408 and 429. The error is retryable for these three and for no other.

    A POST that timed out may have been served, and is not retryable, unless the host contract gives the target an
    `idempotency_header`.
    """

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: Annotated[RequestPath, Field(examples=[["items", "${ payload.id }"]])]
    host: Host | None = None
    query: Parameters = Field(default_factory=dict)
    headers: Annotated[dict[str, Scalar], AfterValidator(checked_headers)] = Field(default_factory=dict)
    json_body: JsonValue = Field(default=None, alias="json")
    form: Parameters | None = None
    text: Text | None = None
    bytes_: Base64 | None = Field(default=None, alias="bytes")
    multipart: Annotated[list[Part], Field(min_length=1, max_length=1000)] | None = None
    read: Literal["auto", "bytes"] = "auto"
    redirects: Annotated[int, Field(ge=0, le=10)] = 0
    pages: Pages | None = None
    expect: Annotated[list[Status], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        bodies = (self.form, self.text, self.bytes_, self.multipart)
        if self.has_json + sum(body is not None for body in bodies) > 1:
            raise ValueError("a request has one body: json, form, text, bytes or multipart")
        if self.multipart is not None and "content-type" in self.headers:
            raise ValueError("multipart sets the header content-type; leave it out")
        if self.pages is not None and (self.method != "GET" or self.read != "auto"):
            raise ValueError("pages are those of a GET whose replies are read as JSON")
        return self

    @property
    def has_json(self) -> bool:
        """Whether a JSON body is sent: a null that is written is a body too."""
        return "json_body" in self.model_fields_set

    @property
    def escaped_path(self) -> str:
        """The path as it goes over the wire, without that of the base URL."""
        if isinstance(self.path, str):
            return self.path
        return "".join(f"/{quote(segment, safe='')}" for segment in self.path)


class HttpResponse(HttpModel):
    """The result of a request.

    - `headers`: names in lower case; the values of a repeated one are joined by a comma and a space.
    - `json`: the body where its type is JSON, else null; `text`: any other body, null beside `json`. A body without
      any bytes is the text "". With a status from 400 on, a body that is not the JSON that it says it is comes as text.
      `bytes`: the body as base64, where the request says `read: bytes`; the others are null.
    - `pages`: where the request has `pages`, the body of each in order, and `more` says whether there were further
      ones; status and headers are the last one's.
    """

    status: Annotated[Status, Field(examples=[200])]
    headers: dict[str, str] = Field(default_factory=dict)
    json_body: Annotated[JsonValue, Field(examples=[{"name": "Ada"}])] = Field(default=None, alias="json")
    text: str | None = None
    bytes_: str | None = Field(default=None, alias="bytes")
    pages: list[JsonValue] | None = None
    more: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_a_body(cls, written: Any) -> Any:
        """Let a response that a test writes without a body have the text that an empty one has."""
        bodiless = isinstance(written, dict) and not written.keys() & {"json", "text", "bytes", "pages"}
        return {**written, "text": ""} if bodiless else written
