"""The build of the site reports what the generator itself would pass over: each case breaks a small site on purpose."""

from pathlib import Path

import pytest

from website.build import configure, missing_names, public_names, stage, warnings_in

ROOT = Path(__file__).parents[2]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Return a folder of pages in a repository that has other files, too."""
    folder = tmp_path / "repository" / "docs"
    (folder / "handlers").mkdir(parents=True)
    (folder.parent / "node.yaml").write_text("contract: node/v1\n")
    (folder.parent / "README.md").write_text("[docs](docs/README.md)\n")
    (folder / "README.md").write_text("[handlers](handlers/http.md#errors), [home](../README.md)\n")
    (folder / "handlers" / "http.md").write_text("[a node](../../node.yaml) [elsewhere](https://example.org/x)\n")
    return folder


def test_links_to_the_repository_lead_to_copies(docs: Path, tmp_path: Path) -> None:
    """A link that leaves docs/ works on the site as well; the links to pages are as they were."""
    site = tmp_path / "site"
    assert list(stage(docs, site)) == []
    page = (site / "handlers" / "http.md").read_text()
    assert page == "[a node](../repository/node.yaml) [elsewhere](https://example.org/x)\n"
    assert (site / "repository" / "node.yaml").read_text() == "contract: node/v1\n"
    assert (site / "README.md").read_text().endswith("[home](repository/README.md.txt)\n")


@pytest.mark.parametrize("target", ["gone.svg", "../gone.yaml", "gone.md#x", "handlers"])
def test_a_link_to_nothing_is_reported(docs: Path, tmp_path: Path, target: str) -> None:
    """Pictures and files outside docs/, too; a folder is no page."""
    (docs / "page.md").write_text(f"[x]({target})\n")
    assert list(stage(docs, tmp_path / "site")) == [f"docs/page.md: there is no file {target.partition('#')[0]}"]


def test_a_page_that_the_navigation_leaves_out_is_reported(docs: Path, tmp_path: Path) -> None:
    """Every page of a folder is in it by `folder/*`, its README first; any other has to be named."""
    (docs / "handlers" / "README.md").touch()
    (docs / "new.md").touch()
    config = tmp_path / "mkdocs.yml"
    (tmp_path / "build").mkdir()
    config.write_text("nav:\n  - Start:\n      - README.md\n  - Handlers:\n      - handlers/*\n")
    assert list(configure(config, docs, tmp_path / "build")) == ["mkdocs.yml: nav does not name new.md"]
    written = (tmp_path / "build" / "mkdocs.yml").read_text()
    assert written.endswith("  - Handlers:\n      - handlers/README.md\n      - handlers/http.md\n")


def test_a_docstring_that_does_not_fit_is_reported() -> None:
    """What reads docstrings only prints such a warning."""
    warning = "griffe: core/x.py:7: Parameter 'b' does not appear in the function signature"
    assert warnings_in(f"Build started\n{warning}\nNo issues found\n") == [warning]
    assert warnings_in("Build started\nNo issues found\n") == []


def test_a_public_name_without_an_entry_is_reported(tmp_path: Path) -> None:
    """The reference shows what has a docstring, and leaves out the rest without a word."""
    module = tmp_path / "packages" / "omnibase_core" / "src" / "omnibase_core" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text('__all__ = ["decode", "encode"]\n')
    page = tmp_path / "reference" / "omnibase_core" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text('<h2 id="omnibase_core.decode">')
    (problem,) = missing_names(tmp_path, tmp_path / "reference")
    assert problem.startswith("docs/reference/omnibase_core.md: encode of __all__ is not in it")


@pytest.mark.parametrize("package", ["core", "spi", "infra"])
def test_each_package_has_public_names(package: str) -> None:
    """They are read without importing the package."""
    assert public_names(ROOT / f"packages/omnibase_{package}/src/omnibase_{package}/__init__.py")


def test_every_page_of_docs_is_on_the_site(tmp_path: Path) -> None:
    """The pages of this repository link to what exists, and the navigation names them."""
    (tmp_path / "build").mkdir()
    problems = [
        *stage(ROOT / "docs", tmp_path / "build" / "docs"),
        *configure(ROOT / "website" / "mkdocs.yml", ROOT / "docs", tmp_path / "build"),
    ]
    assert problems == []
