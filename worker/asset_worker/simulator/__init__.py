"""A stand-in for the assets API: for the demo, development, tests and benchmarks.

It answers as the real API does, over real sockets, and does what the real one does only on a bad day when told to.
The vendor's own SDK is run against it in the integration tests, which keeps it honest. Nothing of the worker depends on
it, and it depends on nothing of the worker.
"""
