"""Which errors of the operating system may pass by themselves: a pure function."""

from __future__ import annotations

import errno
from typing import Final

_MAY_PASS: Final = frozenset(
    {
        errno.EADDRINUSE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ENOTCONN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""A disk that is full or fails, a network file system that is away, resources of the machine that are used up, a port
that another process uses. Missing rights and wrong paths are not among them: somebody must correct those."""


def may_pass(error: OSError) -> bool:
    """Return whether the same call may succeed later although nobody corrects anything that this program uses."""
    return error.errno in _MAY_PASS
