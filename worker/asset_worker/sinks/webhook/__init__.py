"""Webhooks: each event is a signed HTTP request to a URL.

The law of this package: what a request holds, what an answer means, which address may be connected to, and what a file
of secrets holds are pure functions (`requests`, `signing`, `answers`, `addresses`, `target`). `sink` sends and reads;
it makes one attempt at a time for an event, and knows no retry plan. No message holds a secret: neither user-info nor
query of the URL, no header value, no part of an event.
"""
