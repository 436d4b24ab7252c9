"""The simulator: a stand-in for the assets API, for the demo, development, tests and benchmarks.

It answers over real sockets as the real API does, and fails on request in ways in which the real API fails rarely. The
integration tests run the vendor's own SDK against it, so that it stays faithful. The worker does not depend on it, and
it imports nothing else of the package.
"""
