"""How a part reports a call to another system, a request or a delivery, to whoever watches it: for traces."""

from __future__ import annotations

from typing import Protocol, Self


class Call(Protocol):
    """One call that is being made. It ends with the context that provides it; an exception is its failure."""

    @property
    def traceparent(self) -> str | None:
        """The call's own W3C trace context, to be sent with it; None: it has none."""
        ...

    def answered(self, status: int) -> None:
        """Record the status of the HTTP answer."""
        ...

    def failed(self, why: str) -> None:
        """Record that it failed without an exception. `why` is for people, and holds no secret."""
        ...


class UnwatchedCall:
    """A call that nobody watches, and the context that provides it."""

    traceparent = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def answered(self, status: int) -> None:
        """Do nothing."""

    def failed(self, why: str) -> None:
        """Do nothing."""


UNWATCHED = UnwatchedCall()
