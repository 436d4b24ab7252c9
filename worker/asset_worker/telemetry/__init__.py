"""What the worker tells of itself: logs, a heartbeat, metrics, health.

Nothing here decides anything, and no part imports it but the service, which hands it functions to read.
"""
