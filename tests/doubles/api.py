"""Stand-ins for the assets API, as the poller uses it."""

from __future__ import annotations

from asset_worker.api.errors import NotFoundError
from asset_worker.domain.assets import asset_from

PROCESSING = {"status": "processing"}
READY = {"status": "ready"}


class ScriptedApi:
    """Answers each retrieve with the next step of a script, a document or an error; the last step repeats."""

    latest_failure = None
    stalled_for = 0.0
    may_list = True
    lists_are_limited = False
    has_capacity = True

    def __init__(self, *script):
        self.script = list(script)
        self.asked = 0
        """Retrieves so far."""

    async def wait_for_capacity(self):
        pass

    async def retrieve(self, asset_id):
        self.asked += 1
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, BaseException):
            raise step
        return asset_from({"_id": asset_id, **step})


class ListingApi:
    """Answers retrieves and lists: each asset moves through its documents, look by look; the last one repeats.

    None in the place of a document: there is no such asset.
    """

    latest_failure = None
    stalled_for = 0.0
    may_list = True
    lists_are_limited = False
    has_capacity = True

    def __init__(self, documents, *, listed=None, list_errors=()):
        """`listed(asset_id, document)` is what a list shows of an asset, if not the same as a retrieve."""
        self.documents = {asset_id: list(steps) for asset_id, steps in documents.items()}
        self.listed = listed or (lambda asset_id, document: document)
        self.list_errors = iter(list_errors)
        self.retrieved = []
        """The ID of each retrieve so far."""
        self.lists = []
        """The IDs of each list so far."""

    async def wait_for_capacity(self):
        pass

    def _next(self, asset_id):
        steps = self.documents[asset_id]
        return steps.pop(0) if len(steps) > 1 else steps[0]

    async def retrieve(self, asset_id):
        self.retrieved.append(asset_id)
        document = self._next(asset_id)
        if document is None:
            raise NotFoundError("404")
        return asset_from({"_id": asset_id, **document})

    async def list_assets(self, asset_ids):
        self.lists.append(list(asset_ids))
        if error := next(self.list_errors, None):
            raise error
        shown = {asset_id: self.listed(asset_id, self._next(asset_id)) for asset_id in asset_ids}
        return {asset_id: asset_from({"_id": asset_id, **each}) for asset_id, each in shown.items() if each}
