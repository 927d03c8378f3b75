"""What is written appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.config.whole import appearing


def test_nothing_appears_and_nothing_is_left_where_the_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"

    def write() -> None:
        with appearing(path) as made:
            made.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert list(path.parent.iterdir()) == []


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with appearing(path) as made:
        made.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("keep", "found"), [(False, "new"), (True, "old")])
def test_a_folder_is_replaced_unless_it_is_to_be_kept(tmp_path: Path, keep: bool, found: str) -> None:
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with appearing(path, keep=keep) as made:
            made.mkdir()
            (made / "x").write_text(content)
    assert (path / "x").read_text() == found
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("keep", "found"), [(False, "new"), (True, "old")])
def test_a_file_is_replaced_unless_it_is_to_be_kept(tmp_path: Path, keep: bool, found: str) -> None:
    path = tmp_path / "file"
    for content in ("old", "new"):
        with appearing(path, keep=keep) as made:
            made.write_text(content)
    assert path.read_text() == found
    assert list(tmp_path.iterdir()) == [path]
