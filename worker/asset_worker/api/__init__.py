"""The client of the assets API: takes asset IDs, and returns assets as values; failures are errors to act on.

The law of this layer: nothing it returns is a guess. An answer that is not about the asset is an error (`errors`), and
of the errors only `NotFoundError` and `BadIdError` say something about the asset. Only `responses` knows what a status
means. All decisions are pure (`responses`, `breaker`, `probes`, `subjects`, `limits`); `client`, `gate`, `retry`,
`key` and `session` do I/O or wait, and take clock and stop as arguments.

`client` sends each attempt through the `gate`, which waits until `limits` and `breaker` allow it; `retry` repeats
attempts that failed.
"""
