"""Bodies of requests and responses: between JSON values, parameters, text and bytes. Pure."""

import hashlib
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, quote_plus

from pydantic import JsonValue
from pydantic_core import to_json

from omnibase_infra.handlers.http.models import HttpRequest, Part
from omnibase_infra.handlers.http.values import Parameters, Scalar
from omnibase_infra.http.json_values import json_value

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.ASCII | re.IGNORECASE)
_CHARSETS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be", "gb2312", "gbk", "gb18030", "big5"}
    | {"shift_jis", "euc-jp", "euc-kr", "koi8-r", "koi8-u"}
    | {f"iso-8859-{part}" for part in (*range(1, 12), *range(13, 17))}
    | {f"windows-125{page}" for page in range(9)}
)
"""The text encodings of the web. Python knows others, by which a server could keep the loop busy for minutes."""


def query_of(request: HttpRequest) -> str:
    """Return the query with its question mark, or nothing."""
    encoded = _encoded(request.query, escape=quote)
    return encoded and f"?{encoded}"


def content_of(request: HttpRequest) -> tuple[Mapping[str, str], bytes | None]:
    """Return the body, and the header that says what it is. Raises ValueError for text that has no form in UTF-8."""
    if request.has_json:
        return {"content-type": "application/json"}, to_json(request.json_body)
    if request.form is not None:
        return {"content-type": "application/x-www-form-urlencoded"}, form_of(request.form)
    if request.text is not None:
        return {"content-type": "text/plain; charset=utf-8"}, request.text.encode()
    if request.bytes_ is not None:
        return {"content-type": "application/octet-stream"}, b64decode(request.bytes_)
    return ({}, None) if request.multipart is None else _multipart(request.multipart)


def written(value: Scalar) -> str:
    """Return a value as it stands in a query, a form or a header."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def form_of(parameters: Parameters) -> bytes:
    """Return parameters as the body of a form."""
    return _encoded(parameters, escape=quote_plus).encode()


def is_json(content_type: str) -> bool:
    """Whether a body of this type has to be JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def json_of(body: bytes) -> JsonValue:
    """Read a body as JSON. Raises ValueError, also for a number such as 1e999, which would become infinity."""
    # Some servers begin with a byte order mark.
    return json_value(body.removeprefix(_BYTE_ORDER_MARK))


def text_of(body: bytes, content_type: str) -> str:
    """Read a body as text in the charset of its type; what is none is read as UTF-8, with a sign for each fault.

    A byte order mark is no part of the text.
    """
    match = _CHARSET.search(content_type)
    charset = match[1].lower() if match else "utf-8"
    return body.decode(charset if charset in _CHARSETS else "utf-8", errors="replace").removeprefix("\ufeff")


class Unpacker:
    """Unpacks the pieces of a body no further than it is asked to, so that nothing small unfolds to something huge.

    It knows gzip (RFC 1952: members in a row) and bodies that are not packed. Its methods raise ValueError for any
    other encoding and for a broken stream.
    """

    def __init__(self, encoding: str) -> None:
        """Begin a body of a content-encoding."""
        self._encoding = encoding.strip().lower()
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False

    def unpack(self, piece: bytes, *, bytes_max: int) -> bytes:
        """Return the next bytes. Where that is `bytes_max` of them there may be more, and they are lost."""
        if self._encoding in ("", "identity"):
            return piece[:bytes_max]
        if self._encoding not in ("gzip", "x-gzip"):
            raise ValueError(f"found the content-encoding {self._encoding!r}, asked for gzip or none")
        try:
            return self._gunzip(piece, bytes_max)
        except zlib.error as error:
            raise ValueError(f"broken gzip: {error}") from error

    def finish(self) -> None:
        """Report that no more pieces come."""
        if self._begun and not self._member.eof:
            raise ValueError("broken gzip: the stream ends early")

    def _gunzip(self, piece: bytes, bytes_max: int) -> bytes:
        unpacked = bytearray()
        while piece and len(unpacked) < bytes_max:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            self._begun = True
            unpacked += self._member.decompress(piece, bytes_max - len(unpacked))
            piece = self._member.unconsumed_tail or self._member.unused_data
        return bytes(unpacked)


def _multipart(parts: Sequence[Part]) -> tuple[Mapping[str, str], bytes]:
    """Return `multipart/form-data` (RFC 7578). The boundary follows from the contents, so that none can hold it."""
    contents = [part.text.encode() if part.text is not None else b64decode(part.bytes_ or "") for part in parts]
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    boundary = digest.hexdigest()
    body = bytearray()
    for number, (part, content) in enumerate(zip(parts, contents, strict=True), 1):
        body += f"--{boundary}\r\n{_part_head(part, number)}\r\n\r\n".encode() + content + b"\r\n"
    return {"content-type": f"multipart/form-data; boundary={boundary}"}, bytes(body) + f"--{boundary}--\r\n".encode()


def _part_head(part: Part, number: int) -> str:
    disposition = f'content-disposition: form-data; name="{_quoted(part.name, f"the name of part {number}")}"'
    if part.filename is not None:
        disposition += f'; filename="{_quoted(part.filename, f"the filename of part {number}")}"'
    default = "application/octet-stream" if part.filename is not None else None
    content_type = part.content_type or default
    return disposition if content_type is None else f"{disposition}\r\ncontent-type: {content_type}"


def _quoted(text: str, what: str) -> str:
    """Escape as browsers do (HTML, multipart/form-data encoding); no other control character is let through."""
    for character, escaped in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(character, escaped)
    if any(ord(character) < ord(" ") for character in text):
        raise ValueError(f"{what} holds a control character; expected text without any")
    return text


def _encoded(parameters: Parameters, *, escape: Callable[..., str]) -> str:
    pairs = (
        (name, written(item))
        for name, value in parameters.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    )
    return "&".join(f"{escape(name, safe='')}={escape(text, safe='')}" for name, text in pairs)
