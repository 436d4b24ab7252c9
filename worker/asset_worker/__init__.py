"""asset-worker: watches TwelveLabs assets until they are done and emits one completion event for each."""

__version__ = "0.1.0"
