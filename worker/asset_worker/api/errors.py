"""The errors of a request: one class for each way in which the poller reacts.

    ApiError
      * TransientError            ask again later
        - MalformedAnswerError
          + AnswerTooLargeError
        - EdgeRefusedError
        - UncertainNotFoundError
        - RateLimitedError
        - StoppedError
        - HeldError
      * NotFoundError             the asset is not there, or not yet
      * BadIdError                there can be no such asset
      * KeyRefusedError           no request works until the key does
      * ListRefusedError          retrieve the assets one by one

Only `NotFoundError` and `BadIdError` say something about an asset. `KeyRefusedError` and `UncertainNotFoundError` may
be about one asset alone; the poller finds out (`poller.per_asset_refusals`). The messages are for people. They hold no
key, and of an answer at most its first characters.
"""

from __future__ import annotations


class ApiError(Exception):
    """A request to the assets API did not return what was asked for."""


class TransientError(ApiError):
    """The network, a gateway or the server failed: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """`retry_after` is the wait that the server asked for, in seconds; None: it asked for none."""
        super().__init__(message)
        self.retry_after = retry_after


class MalformedAnswerError(TransientError):
    """The answer is not one that the API gives: cut off, too large, of wrong types, about another asset."""


class AnswerTooLargeError(MalformedAnswerError):
    """The answer is longer than any of the API should be. A shorter list may do."""


class EdgeRefusedError(TransientError):
    """A 401 or 403 without the API's code: the page of a proxy, a filter or a login portal, as far as can be seen."""


class UncertainNotFoundError(TransientError):
    """A 404 or 410 without the API's word about the asset: the default page of a gateway, as far as can be seen."""


class RateLimitedError(TransientError):
    """The organisation's quota of requests is used up."""


class StoppedError(TransientError):
    """The request was not sent, because the worker is stopping."""


class HeldError(TransientError):
    """The request was not sent, because the API is unavailable, and other requests find out when it is back."""


class NotFoundError(ApiError):
    """There is no such asset: a wrong ID, deleted, another account's, or not visible yet."""


class BadIdError(ApiError):
    """The server refuses this asset ID, and always will."""


class KeyRefusedError(ApiError):
    """The API itself refuses the request (401 or 403 with its code): the key is wrong, expired or not entitled."""


class ListRefusedError(ApiError):
    """The list request is refused. Retrieves may still work."""
