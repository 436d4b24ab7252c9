"""Lets `python -m asset_worker` run the command `asset-worker`."""

from asset_worker.cli import main

if __name__ == "__main__":
    main()
