"""Contract files: which are read, in which order, and what cannot be read."""

import os
from pathlib import Path

import pytest

from omnibase_core.contracts.yaml.document import parse_document
from omnibase_core.errors import InvalidContracts, Problem
from omnibase_infra.host.contract_files import find_contracts, read_contracts


def fill(folder: Path, *names: str) -> Path:
    """Write files that hold their own names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def read(path: Path) -> list[str]:
    """Read what there is, and give what it says."""
    return [document.text for document in read_contracts(path)]


def problems(path: Path) -> list[Problem]:
    """Fail to read, and give the reasons."""
    with pytest.raises(InvalidContracts) as caught:
        read_contracts(path)
    return list(caught.value.problems)


def test_contracts_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    """Both suffixes count, at any depth, and other files do not."""
    names = ["a/z.yaml", "a.yaml", "b.yml", "c/d/e.yaml", "c/f.yml"]
    fill(tmp_path, *reversed(names), "README.md", "a.yaml.bak", "b.YAML", "c/yaml")
    assert read(tmp_path) == names


def test_a_document_knows_its_path(tmp_path: Path) -> None:
    """Problems are told at it, so it is the path that was given and what lies below."""
    [document] = read_contracts(fill(tmp_path, "a/é.yaml"))
    assert (document.path, document.text) == (tmp_path / "a" / "é.yaml", "a/é.yaml")


def test_hidden_files_and_tests_of_contracts_are_left_out(tmp_path: Path) -> None:
    """Editors and version control leave hidden files and folders about; tests are for another reader."""
    fill(tmp_path, "a.yaml", "a.test.yaml", "b.test.yml", ".c.yaml", ".git/d.yaml", "e/.f/g.yaml", "test.yaml")
    assert read(tmp_path) == ["a.yaml", "test.yaml"]


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    """Who names a file means it."""
    fill(tmp_path, "host", ".hidden.yaml", "a.test.yaml")
    for name in ("host", ".hidden.yaml", "a.test.yaml"):
        assert read(tmp_path / name) == [name]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    """A folder that links lead to twice is read once."""
    fill(tmp_path, "nodes/a.yaml", "nodes/deep/b.yaml", "elsewhere/c.yaml", "elsewhere/d.yaml")
    nodes = tmp_path / "nodes"
    (nodes / "deep" / "back").symlink_to(nodes)
    (nodes / "itself").symlink_to(nodes / "itself")
    (nodes / "x-linked").symlink_to(tmp_path / "elsewhere")
    (nodes / "y-linked").symlink_to(tmp_path / "elsewhere")
    (nodes / "z.yaml").symlink_to(nodes / "a.yaml")
    assert read(nodes) == ["nodes/a.yaml", "nodes/deep/b.yaml", "elsewhere/c.yaml", "elsewhere/d.yaml", "nodes/a.yaml"]


@pytest.mark.parametrize("name", [".env", "id_rsa", ".hidden.yaml", "token"])
def test_a_link_to_what_is_no_contract_is_not_read(tmp_path: Path, name: str) -> None:
    """A fault in it would be shown with its line, which may be a secret; so would one of a link to a link."""
    nodes = fill(tmp_path, "nodes/a.yaml", name) / "nodes"
    (nodes / "b.yaml").symlink_to(tmp_path / name)
    (nodes / "c.yaml").symlink_to(nodes / "b.yaml")
    told = f"the link leads to {name!r}, which is not named as a contract (*.yaml, *.yml) and is not read"
    for path in (nodes, nodes / "b.yaml"):
        found = problems(path)
        assert {it.message for it in found} == {f"{told}; link to a contract, or copy it"}
        assert all(it.source == "" for it in found)
    assert [it.path.name for it in find_contracts(nodes).documents] == ["a.yaml"]


def test_links_as_kubernetes_mounts_them_are_read(tmp_path: Path) -> None:
    """A folder with a hidden name holds the files, and links lead through another to it."""
    fill(tmp_path, "..2026/a.yaml")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert read(tmp_path) == ["..2026/a.yaml"]


def test_a_pipe_with_the_name_of_a_contract_is_left_out(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(fill(tmp_path, "a.yaml") / "pipe.yaml")
    assert read(tmp_path) == ["a.yaml"]


def test_bytes_that_are_no_text_are_refused_at_their_place(tmp_path: Path) -> None:
    """The text of the file goes on to the document, which says which byte, and in which line and column."""
    (tmp_path / "a.yaml").write_bytes('b: é\na: "é '.encode() + b'\xff"')
    [document] = read_contracts(tmp_path)
    [problem] = parse_document(str(document.path), document.text).problems
    assert str(problem) == f"{tmp_path}/a.yaml:2:7: found the byte 0xff, which is not UTF-8; save the file as UTF-8"
    assert (problem.code, problem.source) == ("bad-character", 'a: "é ?"')


def test_all_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    """One good file does not hide the bad ones, and a link that leads nowhere is a bad one."""
    fill(tmp_path, "b.yaml")
    (tmp_path / "a.yaml").symlink_to(tmp_path / "none.yaml")
    (tmp_path / "c.yaml").symlink_to(tmp_path / "gone.yaml")
    (tmp_path / "d.yaml").symlink_to(tmp_path / "d.yaml")
    found = problems(tmp_path)
    assert [Path(problem.path).name for problem in found] == ["a.yaml", "c.yaml", "d.yaml"]
    assert [it.path.name for it in find_contracts(tmp_path).documents] == ["b.yaml"]
    assert found[1].message == "the file cannot be read: No such file or directory"


@pytest.mark.parametrize("names", [(), ("README.md",), (".hidden.yaml", "a.test.yaml")])
def test_a_folder_without_contracts_is_a_problem(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A host without nodes is hardly meant."""
    message = "no contract below this folder; expected files named *.yaml or *.yml"
    assert problems(fill(tmp_path, *names)) == [Problem(str(tmp_path), 1, 1, message, code="unreadable-file")]


def test_a_path_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    """It is told at that path."""
    missing = tmp_path / "nodes"
    assert problems(missing) == [
        Problem(str(missing), 1, 1, "the file cannot be read: No such file or directory", code="unreadable-file")
    ]
