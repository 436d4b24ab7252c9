"""Stands in for an upload service: every few seconds it uploads a file, and submits the new asset to the worker.

To submit is to append a line to the queue file, in one write: JSON as here, or the asset ID alone. With DATABASE_URL,
it is a statement of SQL in the database of a fleet.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from itertools import cycle
from uuid import uuid4

BASE_URL, KEY = os.environ["TWELVELABS_BASE_URL"], os.environ["TWELVE_LABS_API_KEY"]
QUEUE_FILE, DATABASE_URL = os.environ.get("QUEUE_FILE", ""), os.environ.get("DATABASE_URL")
EVERY = float(os.environ["EVERY"])
FILES = ("photo.jpg", "podcast.mp3", "clip.mp4", "slides.pdf", "lecture.mp4")


def upload(name: str) -> str:
    """Have the API fetch a file, and return the ID of the new asset."""
    boundary = uuid4().hex
    fields = {"method": "url", "url": f"https://media.example/{name}", "filename": name}
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    request = urllib.request.Request(  # noqa: S310 - the URL is the operator's
        f"{BASE_URL}/assets",
        data=f"{''.join(parts)}--{boundary}--\r\n".encode(),
        headers={"x-api-key": KEY, "Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        asset_id: str = json.load(answer)["_id"]
    return asset_id


def submit_to_fleet(asset_id: str, name: str) -> None:
    """Put the asset into the inbox of the fleet. This may as well be a part of a transaction of your own."""
    import psycopg  # noqa: PLC0415 - only here

    with psycopg.connect(DATABASE_URL or "") as connection:
        options = json.dumps({"metadata": {"name": name}})
        connection.execute("SELECT asset_worker.submit(%s, %s)", (asset_id, options))


def submit_to_queue_file(asset_id: str, name: str) -> None:
    """Append the asset to the queue file, which the worker's group may read."""
    line = json.dumps({"asset_id": asset_id, "metadata": {"name": name}}) + "\n"
    descriptor = os.open(QUEUE_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


submit = submit_to_fleet if DATABASE_URL else submit_to_queue_file
for each in cycle(FILES):
    submitted = upload(each)
    submit(submitted, each)
    print("submitted", submitted, each, flush=True)
    time.sleep(EVERY)
