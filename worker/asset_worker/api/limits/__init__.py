"""When the next request may go out. Purely values: text or numbers in, seconds out; no I/O, no clock, no logging.

`limiter` combines our own rate, the quotas that the server reports (`quota`, `trickle`) and, where it reports none, the
rate that it turned out to accept (`adaptive_rate`). `rate_limit_headers` reads reports from an answer's headers, with
`server_clock` and `http_date` for their instants. A refusal (429) is handled here and in `api.responses`, nowhere else.
"""
