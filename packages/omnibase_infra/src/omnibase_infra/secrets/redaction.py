"""Takes secrets out of what a host says: spans of a text, and never the whole of it. Pure.

A span is a secret because the host knows its value, or because of its shape: the password of a URL, what a key such as
`api_key` is set to, a token of a known make. `docs/redaction.md` holds what must vanish and what must stay.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Set
from urllib.parse import unquote

from omnibase_infra.secrets.encodings import Encodings

MASK = "***"

_LINE_LENGTH_MIN = 16
_KEPT_VALUES = 8
"""How many values of one secret are known, the latest and those before: a server may speak of them for a while."""

_PATH = r"/[\w.@+~-]*(?:/[\w.@+~-]*)*"
_FOLDER = rf"\\?[\"']?\s*[:=]\s*\\?[\"']?{_PATH}(?=[\s\"'\\,;)]|\Z)"
_STRONG = rf"(?:pass(?:word|wd|phrase)|pwd(?!{_FOLDER}))"
"""`pwd` is also the folder in which a program runs."""
_PLACE_TOKENS = "".join(
    rf"(?<!{word}{gap}token)"
    for word in ("idempotency", "page", "continuation", "cancellation", "fencing", "sync")
    for gap in ("", "[ _-]")
)
"""Tokens that say where somebody is, or that something is the same: whoever has one can do nothing with it."""
_TOKEN = f"token{_PLACE_TOKENS}"
_WEAK = (
    rf"(?:secret|{_TOKEN}|api[_-]?key|(?:access|account|private|secret|shared|signing)[_-]?key|credentials?|signature)"
)
_WORTH = r"(?!\$\{|\*\*\*|%[sr]|<|(?:true|false|null|none)\b)"
"""What stands where a secret could, and is none: a reference, a mask, a placeholder, a word of the language."""
_MIXED = r"(?=[^\s\"',;]{0,200}?(?:[0-9]|[a-z][A-Z]|[!#$%&*+/=?@^_~.:-][A-Za-z0-9]))"
"""What has more to it than a word: a digit, a capital within, a sign within."""
_SCHEME = r"(?:bearer|basic|digest|negotiate|apikey)"

_SHAPES = [
    # The password of a URL, and of a connection string.
    re.compile(r"://[^\s/:@\"'?#]*:(?P<secret>[^\s/@\"'<>]+)(?=@)"),
    # What an Authorization header holds; elsewhere, what follows a scheme and is no word.
    re.compile(
        rf"authorization\\?[\"']?\s*[:=]\s*\\?[\"']?{_SCHEME}\s+{_WORTH}(?P<secret>[^\s\"',\\]+)", re.IGNORECASE
    ),
    re.compile(rf"\b(?i:{_SCHEME})\s+{_WORTH}{_MIXED}(?P<secret>[A-Za-z0-9._~+/=-]{{8,}})(?<![.])"),
    # key="value", 'key': 'value', \"key\": \"value\".
    re.compile(
        rf"(?:{_STRONG}|{_WEAK})(?P<quote>\\?[\"'])?\s*(?(quote)(?:=>?|:)|=>?)\s*(?P<open>\\?[\"'])"
        rf"{_WORTH}(?P<secret>(?:[^\"'\\]|\\[^\"'])+)(?P=open)",
        re.IGNORECASE,
    ),
    re.compile(rf"{_STRONG}\s*:\s*(?P<open>[\"']){_WORTH}(?P<secret>[^\"']+)(?P=open)", re.IGNORECASE),
    # key=value, as in queries, forms and command lines.
    re.compile(rf"{_STRONG}=\s?{_WORTH}(?P<secret>[^\s&;,\"'<>()\[\]{{}}]+)", re.IGNORECASE),
    re.compile(rf"{_WEAK}={_WORTH}(?![0-9]{{1,6}}(?![^\s&;,]))(?P<secret>[^\s&;,\"'<>()\[\]{{}}]+)", re.IGNORECASE),
    # key: value, as in headers and YAML, where the value is no word.
    re.compile(
        rf"(?:{_STRONG}|{_WEAK}):\s+{_WORTH}(?i:{_SCHEME}\s+)?(?-i:{_MIXED})(?P<secret>[^\s\"',;]{{6,}})", re.IGNORECASE
    ),
    re.compile(r"cookie\\?[\"']?:\s*\\?[\"']?(?P<secret>[\w.-]{1,100}=[^\r\n\"']+)", re.IGNORECASE),
    # Tokens of a known make.
    re.compile(
        r"(?<![A-Za-z0-9_-])(?P<secret>"
        r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"  # JSON web tokens
        r"|hv[sbr]\.[A-Za-z0-9_-]{20,}|[sb]\.[A-Za-z0-9]{24,}"  # Vault and OpenBao
        r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"
        r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
        r"|AIza[A-Za-z0-9_-]{35}"
        r"|xox[abeoprs]-[A-Za-z0-9-]{10,}"
        r"|sk-(?:[a-z]{2,8}-)?(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
        r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}"
        r")"
    ),
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?P<secret>.+?)(?=-----END|\Z)", re.DOTALL),
]
_SENSITIVE_KEY = re.compile(rf"(?:{_STRONG}|{_WEAK}|authorization|cookie)$", re.IGNORECASE)


class Redactor:
    """Knows the values of a host's secrets, and takes them and what looks like one out of texts.

    What it gives may be published; a text without a secret is given as it is. A secret that is shorter than four
    characters is not known by its value: it would take pieces out of every text.
    """

    def __init__(self) -> None:
        """Know no value yet."""
        self._values: dict[str, deque[str]] = {}
        self._parts: dict[str, Set[str]] = {}
        self._known = Encodings()

    def learn(self, name: str, value: str) -> None:
        """Know the value of a secret from now on. Of each secret, the last eight are known."""
        values = self._values.setdefault(name, deque(maxlen=_KEPT_VALUES))
        if value not in values:
            values.append(value)
            known = {it for values in self._values.values() for it in values}
            self._parts = {it: self._parts.get(it) or set(_parts(it)) for it in known}
            self._known.keep(set().union(*self._parts.values()))

    def redacted(self, text: str) -> str:
        """Return a text with each secret in it replaced by three asterisks."""
        text = self._known.replaced(text, MASK)
        for shape in _SHAPES:
            text = shape.sub(_masked, text)
        return text

    def redacted_tree(self, tree: object) -> object:
        """Return a copy of a JSON-like tree whose texts are redacted, and whose keys that name a secret have none."""
        if isinstance(tree, str):
            return self.redacted(tree)
        if isinstance(tree, Mapping):
            return {key: self._under(str(key), child) for key, child in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.redacted_tree(child) for child in tree]
        return tree

    def _under(self, key: str, child: object) -> object:
        if not (isinstance(child, str) and child and _SENSITIVE_KEY.search(key)):
            return self.redacted_tree(child)
        is_folder = key.lower().endswith("pwd") and re.fullmatch(_PATH, child)
        return self.redacted(child) if is_folder else MASK


def _masked(match: re.Match[str]) -> str:
    start, end = match.span("secret")
    return match[0][: start - match.start()] + MASK + match[0][end - match.start() :]


def _parts(value: str) -> Iterator[str]:
    """Yield a secret, and what of it is one by itself: long lines of a key file, the password of an address."""
    yield value
    yield from (line for line in value.splitlines() if len(line) >= _LINE_LENGTH_MIN and not line.startswith("-----"))
    for shape in _SHAPES:
        for match in shape.finditer(value):
            yield match["secret"]
            yield unquote(match["secret"])
