"""Services that every part may use: clock, stop, signals, threads, stderr, random numbers, hosts, paths, redaction.

What HTTP clients share is here, too: lookups, sockets, proxy, TLS roots, header fields.

The law of this layer: it knows nothing of assets, and imports no other package of the program. Time, randomness and
threads are parameters, so that tests can replace them.
"""
