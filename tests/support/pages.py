"""Pages of documentation that are run: their commands, changes of files, and what the commands print."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(console|diff)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`([^`\s]+/[^`\s]+\.\w+)`")


@dataclass(frozen=True, slots=True)
class Command:
    """A line that a reader types, and the lines that should come."""

    line: str
    printed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Change:
    """Lines of a file that a reader replaces by others. The file is the last that the text before names."""

    path: str
    before: str
    after: str

    def apply(self, folder: Path) -> None:
        """Make the change; what it replaces has to be there, once."""
        path = folder / self.path
        text = path.read_text()
        assert text.count(self.before) == 1, f"{self.path} has {text.count(self.before)} times:\n{self.before}"
        path.write_text(text.replace(self.before, self.after))


def steps_of(page: str) -> Iterator[Command | Change]:
    """Yield what a reader of the page does, in order."""
    for match in _BLOCK.finditer(page):
        lines = match[2].splitlines()
        if match[1] == "console":
            yield from _commands(lines)
        else:
            named = _FILE.findall(page[: match.start()])
            yield Change(named[-1], _side(lines, "-"), _side(lines, "+"))


def differs(printed: str, expected: Sequence[str]) -> str | None:
    """Return the first expected line that is missing. They come in order; `...` stands for anything."""
    rest = [_timeless(line) for line in printed.splitlines()]
    for line in expected:
        if line.strip() in ("", "..."):
            continue
        pattern = re.compile(".*".join(map(re.escape, _timeless(line).split("..."))))
        found = next((index for index, it in enumerate(rest) if pattern.search(it)), None)
        if found is None:
            return line
        rest = rest[found + 1 :]
    return None


def _commands(lines: Sequence[str]) -> Iterator[Command]:
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Command(lines[start].removeprefix("$ "), lines[start + 1 : end])


def _side(lines: Sequence[str], sign: str) -> str:
    return "\n".join(line[1:] for line in lines if line.startswith(sign))


def _timeless(line: str) -> str:
    return re.sub(r"\d+\.\d+ s\b", "0 s", " ".join(line.split()))
