"""Where completion events go.

The law of this layer: only `Delivery` decides what is sent when, and what a failure means. A sink sends, and reports
what became of it; it knows neither the journal nor the other sinks. Each sink has its own `Delivery`, so that one that
fails holds up no other. One conformance suite (`tests/unit/sinks/test_conformance.py`) holds for every sink.
"""
