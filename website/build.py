"""Builds the site into .cache/website/site: the pages of docs/, and a reference of the public names from docstrings.

`make docs` runs it. Every warning fails the build: a link whose target is missing, a page that the navigation leaves
out, a docstring that does not fit its signature, a public name without an entry in the reference.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".cache" / "website"

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#:]+)(?=(?:#[^)\s]*)?\))")
_EVERY_PAGE = re.compile(r"^(?P<indent> *)- (?P<folder>[\w/-]+)/\*$", re.MULTILINE)
_PAGE = re.compile(r"^ *- (?P<page>[\w/-]+\.md)$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WARNING = re.compile(r"^(?:griffe|mkdocstrings|Warning|WARNING)\b.*", re.MULTILINE)


def main() -> int:
    """Build the site. Return 1, with the problems on standard error, where anything is to be mended."""
    for folder in ("docs", "site", ".cache"):
        shutil.rmtree(BUILD / folder, ignore_errors=True)
    docs = ROOT / "docs"
    problems = [*stage(docs, BUILD / "docs"), *configure(ROOT / "website" / "mkdocs.yml", docs, BUILD)]
    if not problems:
        problems = [*render(BUILD / "mkdocs.yml"), *missing_names(ROOT, BUILD / "site" / "reference")]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    if not problems:
        sys.stdout.write(f"{BUILD.relative_to(ROOT) / 'site' / 'index.html'}\n")
    return 1 if problems else 0


def stage(docs: Path, copy: Path) -> Iterator[str]:
    """Copy the pages, and beside them what they link to elsewhere in the repository. Yield what is not there."""
    shutil.copytree(docs, copy)
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text()
        for target in sorted(set(_LINK.findall(text))):
            source = (page.parent / target).resolve()
            if not source.is_file():
                yield f"{page.relative_to(docs.parent)}: there is no file {target}"
            elif not source.is_relative_to(docs):
                up = "../" * len(page.relative_to(docs).parent.parts)
                staged = up + _stage_outside(source, docs.parent, copy)
                text = re.sub(rf"(?<=\]\(){re.escape(target)}(?=[)#])", staged, text)
        (copy / page.relative_to(docs)).write_text(text)


def _stage_outside(source: Path, root: Path, copy: Path) -> str:
    """Copy a file from outside docs/ as it is; Markdown as text, since its own links lead elsewhere."""
    name = f"repository/{source.relative_to(root)}" + (".txt" if source.suffix == ".md" else "")
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy / name)
    return name


def configure(config: Path, docs: Path, build: Path) -> Iterator[str]:
    """Write the configuration with every page of each `folder/*`. Yield the pages that it leaves out."""

    def every_page(entry: re.Match[str]) -> str:
        pages = sorted((docs / entry["folder"]).glob("*.md"), key=lambda it: (it.name != "README.md", it.name))
        return "\n".join(f"{entry['indent']}- {it.relative_to(docs)}" for it in pages)

    text = _EVERY_PAGE.sub(every_page, config.read_text())
    (build / "mkdocs.yml").write_text(text)
    named = {found["page"] for found in _PAGE.finditer(text)}
    for page in sorted(str(it.relative_to(docs)) for it in docs.rglob("*.md")):
        if page not in named:
            yield f"{config.name}: nav does not name {page}"


def render(config: Path) -> list[str]:
    """Run the generator. Return its output where it has failed, else its warnings: not all of them make it fail."""
    generator = str(Path(sys.executable).parent / "zensical")
    command = [generator, "build", "--clean", "--strict", "--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    output = _COLOUR.sub("", done.stdout + done.stderr)
    return [output] if done.returncode else warnings_in(output)


def warnings_in(output: str) -> list[str]:
    """Return the generator's warnings, and those of what reads docstrings, which `--strict` passes over."""
    return _WARNING.findall(output)


def missing_names(root: Path, reference: Path) -> Iterator[str]:
    """Yield the public names that have no entry in the reference."""
    for module in sorted(root.glob("packages/*/src/*/__init__.py")):
        package = module.parent.name
        page = reference / package / "index.html"
        html = page.read_text() if page.is_file() else ""
        for name in public_names(module):
            if f'id="{package}.{name}"' not in html:
                yield f"docs/reference/{package}.md: {name} of __all__ is not in it; has it a docstring?"


def public_names(module: Path) -> list[str]:
    """Return what a module lists in `__all__`, without importing it."""
    for statement in ast.parse(module.read_text()).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", None) == "__all__":
            return list(ast.literal_eval(statement.value))
    raise ValueError(f"{module} has no __all__")


if __name__ == "__main__":
    sys.exit(main())
