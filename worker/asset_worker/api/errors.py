"""What can go wrong with a request, as far as a poller must tell it apart.

None of these says anything about an asset, except `NotFoundError`. Their texts are for people; they hold no key and no
more than the first characters of an answer.
"""

from __future__ import annotations


class ApiError(Exception):
    """A request to the assets API has not brought what it was sent for."""


class TransientError(ApiError):
    """The network, the gateway or the server failed in passing: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """`retry_after` is the wait that the server told with a 429 or a 503, in seconds."""
        super().__init__(message)
        self.retry_after = retry_after


class MalformedAnswerError(TransientError):
    """An answer came, but not one that the API gives: cut off, too large, of wrong types, about another asset."""


class RateLimitedError(TransientError):
    """429: the organisation's quota is used up."""


class NotFoundError(ApiError):
    """404: no such asset: a wrong ID, deleted, another account's, or not visible yet."""


class KeyRefusedError(ApiError):
    """401 or 403: the key is wrong, expired or not entitled. No asset is at fault."""


class ListRefusedError(ApiError):
    """Any other 4xx to a list: there is no such endpoint, or it doesn't take such a query. Retrieves may well work."""


class BadIdError(ApiError):
    """400: the server takes this for no asset ID; to ask again is no use."""
