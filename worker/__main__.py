"""`python -m worker` is `asset-worker`."""

from worker.cli import main

if __name__ == "__main__":
    main()
