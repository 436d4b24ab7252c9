"""The protocol of the service manager: where reports go, and the datagrams."""

from __future__ import annotations

import socket

import pytest

from asset_worker.runtime.systemd_notify import Notifier, microseconds, take_notifier, watchdog_of


@pytest.mark.parametrize("name", ["/notify", "@asset-worker-test"], ids=["path", "abstract"])
def test_assignments_go_to_the_socket_in_one_datagram(tmp_path, name):
    address = f"{tmp_path}{name}" if name.startswith("/") else f"{name}{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        Notifier(address).send("READY=1", "STATUS=0 pending – ok")
        assert manager.recv(1000) == "READY=1\nSTATUS=0 pending – ok".encode()


def test_a_manager_that_takes_nothing_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))

        def fill():
            while True:
                notifier.send("WATCHDOG=1")

        with pytest.raises(BlockingIOError):
            fill()


def test_a_manager_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Notifier(str(tmp_path / "none")).send("READY=1")


def test_what_names_the_socket_is_not_passed_on_to_other_processes():
    environ = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "PATH": "/bin"}
    notifier = take_notifier(environ, pid=7)
    assert notifier is not None
    assert notifier.watchdog == 30
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("address", [None, "", "notify", "vsock:2:1234"])
def test_without_a_socket_that_is_a_path_or_abstract_nobody_listens(address):
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    assert take_notifier(environ | {"WATCHDOG_USEC": "1"}) is None


@pytest.mark.parametrize(
    ("usec", "meant_for", "seconds"),
    [
        ("30000000", "7", 30.0),
        ("1500000", "", 1.5),
        ("30000000", "8", None),
        ("", "", None),
        ("0", "7", None),
        ("-1", "7", None),
        ("soon", "7", None),
    ],
)
def test_the_watchdog_counts_in_microseconds_and_may_be_meant_for_another_process(usec, meant_for, seconds):
    assert watchdog_of(usec, meant_for, 7) == seconds


def test_seconds_in_microseconds():
    assert microseconds(81924.9164174) == 81_924_916_417
