"""Where completion events go.

The law of this layer: `Delivery` alone decides what is sent when, and what a failure means; a sink only sends, and
tells what became of it. Each sink has its own `Delivery`, so one that fails holds up no other. A sink is one small file
that satisfies `Sink`; it knows neither the journal nor the other sinks. One conformance suite
(`tests/unit/sinks/test_conformance.py`) holds for every sink.
"""
