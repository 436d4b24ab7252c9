"""What the worker reports about itself: logs, a heartbeat, metrics, health.

The law of this layer: nothing here decides anything. It reads the other parts through the protocols in `sources`. Only
the service, the wiring and the commands import it.
"""
