"""`python -m asset_worker` is `asset-worker`."""

from asset_worker.cli import main

if __name__ == "__main__":
    main()
