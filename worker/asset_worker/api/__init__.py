"""The assets API: requests within its limits, answers as values, failures as errors that a poller can act on.

`client` sends one request at a time through the `gate`, which asks `limits` and `breaker` (both pure) when it may go;
`retry` makes a failed attempt again. No look can be false: whatever is no answer about the asset is an error here.
"""
