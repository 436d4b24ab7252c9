"""What the worker reports about itself: logs, a heartbeat, metrics, health.

The law of this layer: nothing here decides anything. It reads the other parts through the protocols in `snapshot`, and
only the service, which hands them over, and the commands import it.
"""
