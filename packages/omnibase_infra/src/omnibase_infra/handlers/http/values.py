"""The words of HTTP that contracts may write: hosts, paths, segments, headers. Pure.

Each check refuses what could leave its place: a segment its path, a header its line, a request its target. No message
repeats the value of a header, for it may be a secret.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from omnibase_infra.http.values import leads_elsewhere

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)
"""A last label of this form makes resolvers read the whole as an IPv4 address (WHATWG URL, "ends in a number")."""
_IPV4_SHAPE = re.compile(r"[0-9.]+", re.ASCII)
_FIXED_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?", re.ASCII)
BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\]/]*\]|[^:/?#@\[\]\\]+)(?P<port>:[0-9]{1,5})?(?P<path>/.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
HEADER_VALUE = r"^(?:[!-~](?:[\t -~]*[!-~])?)?$"
_HEADER_NAME_FORM = re.compile(HEADER_NAME[1:-1], re.ASCII)
_HEADER_VALUE_FORM = re.compile(HEADER_VALUE[1:-1], re.ASCII)
_PORT_MAX = 65_535

_OWNED_HEADERS = frozenset(
    {
        "accept-encoding",  # the handler unpacks gzip and nothing else
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that frame a message or manage its connection: set by hand, they could smuggle a second request."""


def checked_text(text: str) -> str:
    """Any text that has a form in UTF-8."""
    text.encode()  # Half a surrogate pair has no UTF-8 form; UnicodeEncodeError is a ValueError, and says where it is.
    return text


def checked_host(text: str) -> str:
    """A host name or address as everybody reads it, in lower case."""
    host = text.lower()
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        IPv6Address(host[1:-1])
    elif _IPV4_SHAPE.fullmatch(host):
        try:
            IPv4Address(host)
        except ValueError as error:
            raise ValueError("this is not an IPv4 address of four decimal numbers, each up to 255") from error
    elif _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise ValueError("this is an IPv4 address in another notation; write it as four decimal numbers")
    elif _HOST_NAME.fullmatch(host) is None:
        raise ValueError("expected a host name in ASCII (xn--... for others), an IPv4 address or an [IPv6 address]")
    return host


def checked_path(path: str) -> str:
    """A path that the contract fixes."""
    if not path.startswith("/") or _FIXED_PATH.fullmatch(path) is None or leads_elsewhere(path):
        raise ValueError(
            f"found {path!r}, expected '/' and plain segments, without '%', '//', '.' or '..'; "
            "what needs escaping or comes from a command is written as a list of segments"
        )
    return path


def checked_base_url(text: str) -> str:
    """A scheme, a host, a port and a plain path, without a slash at the end."""
    match = BASE_URL.fullmatch(text)
    if match is None or int((match["port"] or ":1")[1:]) not in range(1, _PORT_MAX + 1):
        # The text is not repeated: a password could stand in it.
        raise ValueError("expected http(s)://host[:port][/path], without user, query or fragment")
    host = checked_host(match["host"])
    path = checked_path(match["path"] or "/").rstrip("/")
    return f"{match['scheme'].lower()}://{host}{match['port'] or ''}{path}"


def checked_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """Headers that stay on their lines and leave the message's frame alone, their names in lower case."""
    checked: dict[str, Any] = {}
    for written, value in headers.items():
        name = written.lower()
        if _HEADER_NAME_FORM.fullmatch(name) is None:
            raise ValueError(f"{written!r} is not a valid header name")
        if name in _OWNED_HEADERS:
            raise ValueError(f"header {written!r} is the handler's own; leave it out")
        if name in checked:
            raise ValueError(f"header {written!r} is given twice")
        if isinstance(value, str) and (fault := _fault_of_header_value(value)):
            raise ValueError(f"the value of header {written!r} {fault}; {_HEADER_VALUE_EXPECTED}")
        checked[name] = value
    return checked


def checked_header_value(value: str) -> str:
    """What can stand in a header."""
    if fault := _fault_of_header_value(value):
        raise ValueError(f"it {fault}; {_HEADER_VALUE_EXPECTED}")
    return value


_HEADER_VALUE_EXPECTED = "expected printable ASCII without blanks at its ends"


def _fault_of_header_value(value: str) -> str | None:
    """Describe what keeps a value from standing in a header, without what it is: it may be a secret."""
    if _HEADER_VALUE_FORM.fullmatch(value) is not None:
        return None
    index = next((index for index, it in enumerate(value) if it != "\t" and not " " <= it <= "~"), None)
    if index is None:
        return "has a blank at an end"
    kind = "a control character" if value[index] <= "\x7f" else "a character beyond ASCII"
    return f"holds {kind} at place {index + 1}"


def checked_token(token: SecretStr) -> SecretStr:
    """A secret that can stand in a header."""
    if re.fullmatch(r"[!-~]+", token.get_secret_value(), re.ASCII) is None:
        raise ValueError("a token is printable ASCII without spaces")
    return token


Text = Annotated[str, AfterValidator(checked_text)]
Host = Annotated[str, AfterValidator(checked_host)]
Scalar = Text | int | float | bool | None
Parameters = dict[Text, Scalar | list[Scalar]]
"""Names with their values: booleans are `true` and `false`, a list repeats its name, null is left out."""
Status = Annotated[int, Field(ge=100, le=599)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class HttpModel(BaseModel):
    """Frozen and strict; what it was given stands in no error, for it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
