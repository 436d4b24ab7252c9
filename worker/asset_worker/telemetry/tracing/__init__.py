"""Traces by OpenTelemetry: a span for each asset, each request and each delivery, sent by OTLP over HTTP.

The span of an asset is made from its completion event, which is in the outbox: so it survives a crash, and a repeated
one has the same IDs. All others are kept in memory until they are sent. Only `otlp` imports opentelemetry, in its own
thread, and only if traces are on.
"""
