"""Checks before a release, with the tools of requirements-release.lock: `make release-check` and `make sbom`."""
