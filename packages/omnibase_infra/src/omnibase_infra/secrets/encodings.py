"""Finds a text however others spell it: escaped for a URL, JSON, HTML or Python, and in base64. Pure.

Letters and digits of ASCII stand for themselves in each of them. A spelling is looked for by its runs of these,
and its expression is made when a text first has all of them: most texts do not, however many secrets a host has.
"""

import json
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from functools import cache, cached_property
from html import escape
from html.entities import codepoint2name, html5
from itertools import groupby
from urllib.parse import quote

_LENGTH_MIN = 4
_WORD_LENGTH_MAX = 7
"""A spelling of a text up to this length counts only where it stands alone: it may well be a part of common words."""
_DEPTH = 2
"""How often a text may have been escaped: JSON in a query, an escaped path in JSON."""
_BACKSLASHES_MAX = 4
_GRAM_LENGTH = 4
_RUN = re.compile(r"[A-Za-z0-9]+")
_BASE64_CORE_MIN = 8
"""How long a part of a longer base64 must be to count: what is shorter occurs by chance."""

# What stands before or after something that is alone: no letter or digit, unless it belongs to an escape.
_ALONE_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\[nrtbf]))"
_ALONE_AFTER = r"(?![A-Za-z0-9])"

_NAMES = defaultdict(set, {chr(point): {name} for point, name in codepoint2name.items()})
for _name, _text in html5.items():
    if len(_text) == 1 and _name.endswith(";") and ord(_text) < 128:
        _NAMES[_text].add(_name[:-1])
_LETTER_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Encodings:
    """The spellings of many texts, to be taken out of others. Texts of fewer than four characters have none."""

    def __init__(self) -> None:
        """Know none yet."""
        self._of: dict[str, Sequence[_Spelling]] = {}
        self._by_gram: defaultdict[tuple[str, ...], set[_Spelling]] = defaultdict(set)
        """By the first characters of what a spelling is looked for by; under none, what must always be looked for."""

    def keep(self, texts: Set[str]) -> None:
        """Know those of these texts, and forget all others."""
        for text in self._of.keys() - texts:
            for spelling in self._of.pop(text):
                bucket = self._by_gram[spelling.gram]
                bucket.discard(spelling)
                if not bucket:
                    del self._by_gram[spelling.gram]
        for text in texts - self._of.keys():
            self._of[text] = _spellings(text)
            for spelling in self._of[text]:
                self._by_gram[spelling.gram].add(spelling)

    def replaced(self, text: str, mask: str) -> str:
        """Return a text with a mask in place of each of them."""
        grams = {(), *zip(text, text[1:], text[2:], text[3:], strict=False)} & self._by_gram.keys()
        near = [it for gram in grams for it in self._by_gram[gram] if it.may_be_in(text)]
        # The longest first: a text within another must not take a piece out of it.
        for spelling in sorted(near, key=lambda it: (-len(it.text), it.text, it.core)):
            text = spelling.pattern.sub(mask, text)
        return text


class _Spelling:
    """One text, or one base64, with every way to escape it. `core` says that it is a part of a longer base64."""

    def __init__(self, text: str, *, core: bool = False) -> None:
        self.text = text
        self.core = core
        self._runs = sorted(set(_RUN.findall(text)), key=len, reverse=True)
        longest = self._runs[0] if self._runs else ""
        self.gram = tuple(longest[:_GRAM_LENGTH]) if len(longest) >= _GRAM_LENGTH else ()

    def may_be_in(self, text: str) -> bool:
        """Check whether all runs are there: many texts hold the longest alone, such as `postgresql`."""
        return all(run in text for run in self._runs)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Find it. Each sign may be spelled in a way of its own.

        Where there are many backslashes, all are spelled alike: how one is shared between a sign and the next could
        otherwise be tried in more ways than there is time for.
        """
        if self.text.count("\\") > _BACKSLASHES_MAX:
            whole = {it for form in _escaped(self.text) for it in _escaped(form)}
            found = "(?:" + "|".join(map(re.escape, sorted(whole, key=lambda it: (-len(it), it)))) + ")"
        else:
            found = "".join(_run(sign, len(list(run))) for sign, run in groupby(self.text))
        if self.core:
            # The characters at both ends hold bits of the text, and bits of what stands beside it.
            return re.compile(f"[A-Za-z0-9+/_-]?{found}[A-Za-z0-9+/_-]?")
        return re.compile(found if len(self.text) > _WORD_LENGTH_MAX else _ALONE_BEFORE + found + _ALONE_AFTER)


def _spellings(text: str) -> Sequence[_Spelling]:
    kinds = {
        (spelled, core)
        for part in (text, text.strip())
        if len(part) >= _LENGTH_MIN
        for spelled, core in [(part, False), *(it for form in _forms(part) for it in _base64(form))]
    }
    return [_Spelling(spelled, core=core) for spelled, core in kinds]


def _forms(text: str) -> set[str]:
    """Return what may have been put into base64: the text itself, or escaped, or in base64 before."""
    encoded = b64encode(text.encode(errors="replace")).decode()
    twice = {encoded, encoded.translate(_TO_URL_SAFE)}
    return {*_escaped(text), *twice, *(it.rstrip("=") for it in twice)}


def _escaped(text: str) -> set[str]:
    """Return a text as it is, and in the escapes of which each writer does all or none."""
    dumped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    slashed = {it.replace("/", r"\/") for it in dumped}
    percent = quote(text, safe="", errors="replace")
    percents = {percent, re.sub("%..", lambda it: it[0].lower(), percent), quote(text, errors="replace")}
    queries = {it.replace("%20", "+") for it in percents}
    lower = {re.sub("[<>&'/+]", lambda it: f"\\u{ord(it[0]):04x}", text) for text in dumped}
    unicoded = lower | {re.sub(r"(?<=\\u)....", lambda it: it[0].upper(), text) for text in lower | dumped}
    html = {escape(text), escape(text, quote=False)}
    html |= {it.replace("&#x27;", "&#39;").replace("&quot;", quotes) for it in html for quotes in ("&quot;", "&#34;")}
    numbers = "".join(it if it.isalnum() else f"&#{ord(it)};" for it in text)
    return {text, *dumped, *slashed, *percents, *queries, *unicoded, *html, numbers, repr(text)[1:-1]}


def _base64(text: str) -> Iterator[tuple[str, bool]]:
    """Yield a text's base64, and those of its characters that are the same whatever stands before and behind it.

    So it is found within the credentials of Basic, whoever the user is, and within a document.
    """
    raw = text.encode(errors="replace")
    for before in range(3):
        encoded = b64encode(bytes(before) + raw).decode().rstrip("=")
        own = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        for table in ({}, _TO_URL_SAFE):
            if before == 0 and len(encoded) >= _LENGTH_MIN:
                yield encoded.translate(table), False
            if len(own) >= _BASE64_CORE_MIN:
                yield own.translate(table), True


_TO_URL_SAFE = str.maketrans("+/", "-_")


def _run(sign: str, length: int) -> str:
    if _is_plain(sign):
        return sign * length
    ways = _ways(sign, _DEPTH)
    times = "" if length == 1 else f"{{{length}}}"
    return "(?:" + "|".join(f"(?:{way}){times}" if times else way for way in ways) + ")"


def _is_plain(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()


@cache
def _ways(sign: str, depth: int) -> Sequence[str]:
    """Return the expressions for a sign that was escaped up to so often, the longest first."""
    own = re.escape(sign)
    if depth == 0 or _is_plain(sign):
        return [own]
    inner = {other: _any(other, depth - 1) for other in "%\\&#;+"}
    point, slash = ord(sign), inner["\\"]
    raw = sign.encode(errors="replace")
    ways = ["".join(f"{inner['%']}{_hex(f'{byte:02x}')}" for byte in raw)]
    units = sign.encode("utf-16-be", errors="surrogatepass").hex()
    ways.append("".join(f"{slash}u{_hex(units[at : at + 4])}" for at in range(0, len(units), 4)))
    ways.append(rf"{slash}U{_hex(f'{point:08x}')}")
    if point < 256:
        ways.append(rf"{slash}x{_hex(f'{point:02x}')}")
    numbers = rf"{inner['#']}(?:0*{point}|[xX]0*{_hex(f'{point:x}')})"
    names = [re.escape(name) for name in sorted(_NAMES[sign])]
    ways.append(rf"{inner['&']}(?:{'|'.join([numbers, *names])}){inner[';']}")
    if sign in "\"'\\/":
        ways.append(slash + _any(sign, depth - 1))
    if sign in _LETTER_ESCAPES:
        ways.append(slash + _LETTER_ESCAPES[sign])
    if sign == " ":
        ways.append(inner["+"])
    return [*ways, own]


def _any(sign: str, depth: int) -> str:
    ways = _ways(sign, depth)
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _hex(digits: str) -> str:
    return "".join(f"[{it.lower()}{it.upper()}]" if it.isalpha() else it for it in digits)
