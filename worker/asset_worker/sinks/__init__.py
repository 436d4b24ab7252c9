"""Sinks: where completion events go.

The law of this layer: only a delivery (`delivery`, `independent`) decides what is sent when, and what a failure means.
A sink sends, and reports the result; it knows neither the journal nor the other sinks. Each sink has a delivery of its
own, so that a failing sink delays no other. Every ordered sink passes one conformance suite
(`tests/unit/sinks/test_conformance.py`).
"""
