"""The options of sockets."""

from __future__ import annotations

import socket
import sys
from contextlib import closing

import pytest

from asset_worker.runtime.sockets import socket_maker

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some of the options")
def test_the_system_gives_up_a_dead_connection_before_the_request_does():
    with closing(socket_maker(10)(ADDRESS)) as made:
        options = {
            name: made.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        }
        assert options == {"TCP_USER_TIMEOUT": 5000, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_an_option_that_is_refused_or_missing_is_left_out(monkeypatch):
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPIDLE", 9999, raising=False)
    socket_maker(10)(ADDRESS).close()
