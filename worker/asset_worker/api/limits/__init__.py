"""The rate limits: when the next request may be sent. Pure: text or numbers in, seconds out; no I/O, clock or logging.

`limiter` combines our own rate, the quotas that the server reports (`quota`, `trickle`) and, if it reports none, the
rate that it was seen to accept (`adaptive_rate`). `pauses` decides whom a refusal pauses. `rate_limit_headers` reads
reports from an answer's headers, and `server_clock` says by which clock the instants in them are meant. A refusal (429)
is handled here and in `api.responses`, nowhere else.
"""
