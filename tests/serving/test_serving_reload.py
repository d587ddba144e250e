"""A value that files define: when it is loaded again, and what happens when it cannot be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.reload import ReloadedValue


class BadTextError(Exception):
    """The text of these tests' file is not a number."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "number"
    file.write_text("1")
    return file


@pytest.fixture
def load(file: Path) -> Callable[[], list[int]]:
    """Reads the number of the file, as a new object each time."""

    def load() -> list[int]:
        text = file.read_text()
        if not text.isdigit():
            raise BadTextError(f"not a number: {text}")
        return [int(text)]

    return load


def test_value_is_loaded_again_only_when_its_file_changes(file: Path, load: Callable[[], list[int]]) -> None:
    current = ReloadedValue([file], load)

    first, second = current.get(), current.get()
    file.write_text("22")
    third = current.get()

    assert second is first
    assert (first, third) == ([1], [22])


def test_value_is_loaded_again_when_a_symlink_is_flipped(tmp_path: Path) -> None:
    # A ConfigMap volume changes so.
    (tmp_path / "old").write_text("1")
    (tmp_path / "new").write_text("2")
    link = tmp_path / "link"
    link.symlink_to("old")
    current = ReloadedValue([link], link.read_text)
    before = current.get()

    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").rename(link)

    assert (before, current.get()) == ("1", "2")


def test_nothing_is_loaded_before_the_first_get(tmp_path: Path) -> None:
    current = ReloadedValue([tmp_path / "later"], (tmp_path / "later").read_text)

    (tmp_path / "later").write_text("here")

    assert current.get() == "here"


def test_file_that_does_not_load_raises_each_time_until_it_does(file: Path, load: Callable[[], list[int]]) -> None:
    current = ReloadedValue([file], load)
    current.get()

    file.write_text("none")

    for _ in range(2):
        with pytest.raises(BadTextError, match="not a number: none"):
            current.get()
    file.write_text("333")
    assert current.get() == [333]


def test_file_that_is_gone_raises_what_reading_it_raises(file: Path, load: Callable[[], list[int]]) -> None:
    current = ReloadedValue([file], load)
    current.get()

    file.unlink()

    with pytest.raises(FileNotFoundError):
        current.get()


def test_previous_value_is_kept_and_the_reason_is_logged_once(
    file: Path, load: Callable[[], list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    current = ReloadedValue([file], load, keep_on=BadTextError)
    first = current.get()

    file.write_text("none")

    assert [current.get(), current.get()] == [first, first]
    assert caplog.messages == ["podtls: the previous value stays in use: not a number: none"]


def test_without_a_previous_value_nothing_is_kept(file: Path, load: Callable[[], list[int]]) -> None:
    file.write_text("none")

    with pytest.raises(BadTextError, match="not a number"):
        ReloadedValue([file], load, keep_on=BadTextError).get()


def test_other_errors_are_not_kept_back(file: Path, load: Callable[[], list[int]]) -> None:
    current = ReloadedValue([file], load, keep_on=BadTextError)
    current.get()

    file.unlink()

    with pytest.raises(FileNotFoundError):
        current.get()
