"""What a queue raises when it can't do what it was asked, and will not try again."""

from __future__ import annotations


class QueueUnavailableError(Exception):
    """The queue can't be read or written, and the process is about to end. A change may or may not be durable."""
