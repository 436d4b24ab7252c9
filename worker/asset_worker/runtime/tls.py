"""The TLS context of clients, with the certificates of authorities as they are on the disk now."""

from __future__ import annotations

import os
import ssl


class TlsRootsError(Exception):
    """The certificates of authorities can't be read. The message says which; those in use stay in use."""


def tls_context() -> ssl.SSLContext:
    """Return a context that checks certificates. It reads files: call it in a thread.

    Raises:
        TlsRootsError: there are no certificates of authorities that can be read.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    # The files of a directory are only read when they are needed.
    paths = ssl.get_default_verify_paths()
    if not context.cert_store_stats()["x509_ca"] and not paths.capath:
        variable = paths.openssl_cafile_env
        where = os.environ.get(variable, paths.openssl_cafile)
        raise TlsRootsError(f"there are no certificates of authorities in {where}: check {variable}")
    return context
