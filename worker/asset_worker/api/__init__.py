"""The assets API: asset IDs in, assets out as values, and failures as errors that the poller can act on.

The law of this layer: nothing it returns is a guess. An answer that is not about the asset is an error (`errors`), and
only `NotFoundError` and `BadIdError` say something about it. What a status means stands in `responses` alone. All that
decides is pure (`responses`, `breaker`, `limits`); `client`, `gate`, `retry`, `key`, `session` and `resolver` do I/O or
wait, and take clock and stop as arguments.

`client` sends each attempt through the `gate`, which lets it go when `limits` and `breaker` allow it; `retry` repeats
attempts that failed.
"""
