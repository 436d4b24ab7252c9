"""What can go wrong with a request, one class for each thing that a poller does about it.

    ApiError
      * TransientError            ask again later
        - MalformedAnswerError
        - RateLimitedError
        - StoppedError
      * NotFoundError             the asset is not there, or not yet
      * BadIdError                there can be no such asset
      * KeyRefusedError           no request works until the key does
      * ListRefusedError          retrieve the assets one by one

Only `NotFoundError` and `BadIdError` say something about an asset. The texts are for people: they hold no key, and at
most the first characters of an answer.
"""

from __future__ import annotations


class ApiError(Exception):
    """A request to the assets API did not return what it was sent for."""


class TransientError(ApiError):
    """The network, a gateway or the server failed: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """`retry_after` is the wait that the server asked for, in seconds; None: it asked for none."""
        super().__init__(message)
        self.retry_after = retry_after


class MalformedAnswerError(TransientError):
    """An answer came that the API doesn't give: cut off, too large, of wrong types, about another asset."""


class RateLimitedError(TransientError):
    """The organisation's quota of requests is used up."""


class StoppedError(TransientError):
    """The request was not sent: the worker stopped while it waited for permission."""


class NotFoundError(ApiError):
    """There is no such asset: a wrong ID, deleted, another account's, or not visible yet."""


class BadIdError(ApiError):
    """The server refuses this as an asset's ID, and always will."""


class KeyRefusedError(ApiError):
    """The key is wrong, expired or not entitled. No asset is at fault."""


class ListRefusedError(ApiError):
    """There is no such list, or it doesn't take such a query. Retrieves may well work."""
