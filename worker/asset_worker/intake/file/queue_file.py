"""Opens the queue file and the files beside it: only what is a regular file, and what its writers may have read.

The writers of the queue file are not trusted. They may put anything into its directory: pipes and devices, links to
files that only the worker may read, and links, symbolic or hard, to the files that the worker itself writes. If it read
its events as lines, each would make another event, without end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from asset_worker.intake.file.tail_reader import NotAFileError, TailReader
from asset_worker.runtime.links import Link, refuse_untrusted, walked


def is_no_output(_descriptor: int) -> bool:
    """Return that the process does not write to this file, as if it wrote to none."""
    return False


class QueueFile:
    """The path that is followed, and the rules by which files at it and beside it are opened.

    They are applied to the open descriptor: names may be exchanged at any time.

    - The links on the way to the queue file must be trusted (`runtime.links`), also for the files beside it: these may
      be in the directory to which such a link leads.
    - A link to a file beside it is never followed.
    - What the worker writes is not read.
    """

    def __init__(self, path: Path, is_output: Callable[[int], bool] = is_no_output) -> None:
        """`path` is absolute. `is_output` returns whether this process writes to the file of a descriptor."""
        self.path = path
        self._is_output = is_output
        self._links: tuple[Link, ...] = ()
        self._directories: set[Path] = set()

    def places(self) -> list[Path]:
        """Find out where the path leads now. Return it and, if it is a symbolic link, the path that it leads to.

        Raises:
            UntrustedLinkError: it leads to a file through a link that is not trusted.
            OSError: a directory on the way can't be entered.
        """
        if os.path.realpath(self.path) == str(self.path):  # no links, so that no descriptor is needed to see whose
            self._links, self._directories = (), {self.path.parent}
            return [self.path]
        with walked(self.path) as place:
            if (status := place.status()) is not None:
                refuse_untrusted(self.path, place.links, target_owner=status.st_uid)
        is_link = place.real != Path(os.path.realpath(self.path.parent), self.path.name)
        places = [self.path, place.real] if is_link else [self.path]
        self._links, self._directories = place.links, {each.parent for each in places}
        return places

    def open(self, path: Path) -> TailReader:
        """Open the queue file, or a file beside it as `places` has found them last, to be read from its start.

        Raises:
            OSError: it can't be opened.
            NotAFileError: it is not a regular file, not beside the queue file any more, or the worker writes to it.
            UntrustedLinkError: a link on the way is not trusted.
        """
        is_beside = path != self.path
        if is_beside and path.parent not in self._directories:
            raise NotAFileError(errno.EINVAL, "is not beside the queue file any more", str(path))
        with walked(path, follow=not is_beside) as place:
            # It is not opened for this check: to the writer of a pipe, even a short open would look like a reader.
            if (status := place.status()) is not None:
                _refuse_special(path, status)
            file = TailReader(place.open(os.O_RDONLY | os.O_NONBLOCK), path.name, self._is_output)
        try:
            status = os.fstat(file.descriptor)
            _refuse_special(path, status)
            links = (*self._links, *place.links) if is_beside else place.links
            refuse_untrusted(path, links, target_owner=status.st_uid)
            file.refuse_output(path)
        except BaseException:
            file.close()
            raise
        return file


def _refuse_special(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(errno.EINVAL, "is not a regular file", str(path))
