"""Following symbolic links: whose are followed, and that what is checked is what is opened."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asset_worker.runtime import links
from asset_worker.runtime.links import NAMES_LIMIT, UntrustedLinkError, is_trusted, refuse_untrusted, walked

ROOT, US, WRITER, OTHER = 0, 1000, 2000, 3000

as_root = pytest.mark.skipif(bool(os.geteuid()), reason="only root can make links of other users")


@pytest.mark.parametrize(
    ("link", "target", "user", "expected"),
    [
        pytest.param(ROOT, OTHER, US, True, id="of root"),
        pytest.param(US, OTHER, US, True, id="our own"),
        pytest.param(WRITER, WRITER, US, True, id="of the target's owner"),
        pytest.param(WRITER, US, US, False, id="to a file of ours"),
        pytest.param(WRITER, ROOT, US, False, id="to a file of root"),
        pytest.param(WRITER, OTHER, US, False, id="to a file of a third user"),
        pytest.param(WRITER, ROOT, ROOT, False, id="to a file of root, and we are root"),
        pytest.param(WRITER, None, US, False, id="to a file that does not exist"),
        pytest.param(US, None, US, True, id="our own, to a file that does not exist"),
    ],
)
def test_whose_links_are_followed(link: int, target: int | None, user: int, expected: bool):
    assert is_trusted(link, target_owner=target, user=user) == expected


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A file, and links to it, to links, and to directories."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content")
    (tmp_path / "relative").symlink_to(Path("data", "file"))
    (tmp_path / "absolute").symlink_to(tmp_path / "data" / "file")
    (tmp_path / "chain").symlink_to("absolute")
    (tmp_path / "directory").symlink_to("data")
    (tmp_path / "up").symlink_to(Path("directory", "..", "directory", ".", "file"))
    (tmp_path / "dangling").symlink_to(Path("data", "missing"))
    (tmp_path / "away").symlink_to(Path("missing", "below", "file"))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("data/file", []),
        ("relative", ["relative"]),
        ("absolute", ["absolute"]),
        ("chain", ["chain", "absolute"]),
        ("directory/file", ["directory"]),
        ("up", ["up", "directory", "directory"]),
        ("dangling", ["dangling"]),
        ("away", ["away"]),
        ("data/../chain", ["chain", "absolute"]),
    ],
)
def test_a_path_leads_where_the_system_says_and_every_link_on_the_way_is_named(tree: Path, path: str, names: list[str]):
    with walked(tree / path) as place:
        assert place.real == Path(os.path.realpath(tree / path))
        assert [link.path for link in place.links] == [tree / name for name in names]
        assert {link.owner for link in place.links} <= {os.getuid()}
        try:
            expected = (tree / path).stat().st_ino
        except FileNotFoundError:
            assert place.status() is None
            with pytest.raises(FileNotFoundError):
                place.open(os.O_RDONLY)
        else:
            descriptor = place.open(os.O_RDONLY)
            assert os.fstat(descriptor).st_ino == expected
            os.close(descriptor)


def test_a_link_with_the_last_name_is_not_followed_if_that_is_not_wanted(tree: Path):
    with walked(tree / "directory" / "file", follow=False) as place:
        assert [link.path.name for link in place.links] == ["directory"]
        os.close(place.open(os.O_RDONLY))
    with walked(tree / "relative", follow=False) as place:
        assert place.links == ()
        with pytest.raises(OSError, match="symbolic links") as caught:
            place.open(os.O_RDONLY)
        assert caught.value.filename == str(tree / "relative")


@pytest.mark.parametrize("text", ["circle", "/".join(["data", ".."] * NAMES_LIMIT)], ids=["a circle", "a long way"])
def test_a_way_without_end_is_given_up(tree: Path, text: str):
    (tree / "circle").symlink_to(text)
    with pytest.raises(OSError, match="symbolic links") as caught, walked(tree / "circle"):
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(tree / "circle"))


def test_the_root_of_a_process_is_entered_by_the_system(tree: Path):
    """Its text is `/`, wherever that process has its root."""
    path = Path("/proc/self/root", *tree.parts[1:], "relative")
    with walked(path) as place:
        assert place.real == path.with_name("data") / "file"
        assert place.status() is not None


def test_no_descriptor_is_left_open(tree: Path):
    before = len([*Path("/proc/self/fd").iterdir()])
    (tree / "circle").symlink_to("circle")
    for name in ("up", "away", "circle", "relative/file"):
        with suppress(OSError), walked(tree / name):
            pass
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_link_that_is_exchanged_while_it_is_read_does_not_lend_its_owner_to_another(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    class Exchanging:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def readlink(self, path: str, *, dir_fd: int) -> str:
            (tree / "other").symlink_to("secret")
            (tree / "other").rename(tree / "relative")
            return os.readlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(links, "os", Exchanging())
    with walked(tree / "relative") as place:
        assert [link.text for link in place.links] == ["data/file"]
        assert place.real == tree / "data" / "file"


def test_a_directory_that_is_exchanged_for_a_link_before_it_is_entered_is_not_entered(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise that link would not be among those whose owners are checked."""

    class Exchanging:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def open(self, path: str, flags: int, **options: int) -> int:
            if path == "data":
                (tree / "data").rename(tree / "moved")
                (tree / "data").symlink_to("moved")
            return os.open(path, flags, **options)

    monkeypatch.setattr(links, "os", Exchanging())
    with pytest.raises(NotADirectoryError), walked(tree / "data" / "file"):
        pass


def test_a_file_that_is_exchanged_for_a_link_before_it_is_opened_is_not_opened(tree: Path):
    with walked(tree / "relative") as place:
        (tree / "data" / "file").unlink()
        (tree / "data" / "file").symlink_to(tree / "secret")
        (tree / "secret").write_text("secret")
        with pytest.raises(OSError, match="symbolic links"):
            place.open(os.O_RDONLY)


@as_root
@pytest.mark.parametrize("name", ["chain", "absolute"])
def test_one_link_of_a_chain_that_is_not_trusted_is_enough_and_is_named(tree: Path, name: str):
    os.chown(tree / name, WRITER, WRITER, follow_symlinks=False)
    with walked(tree / "chain") as place:
        refuse_untrusted(place.path, place.links, target_owner=WRITER)
        with pytest.raises(UntrustedLinkError) as caught:
            refuse_untrusted(place.path, place.links, target_owner=OTHER)
    assert caught.value.filename == str(tree / "chain")
    assert caught.value.strerror == (
        f"the symbolic link {tree / name} belongs to user 2000, and is not followed to a file of user 3000: remove it; "
        f"if it is right, give it to root (chown -h root {tree / name}), or name the file that it leads to"
    )
