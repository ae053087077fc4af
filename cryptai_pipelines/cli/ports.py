"""Ports on loopback: is one free, does something answer on it."""

from __future__ import annotations

import socket

from cryptai_pipelines.market.errors import CryptaiError

HOST = "127.0.0.1"


def refuse_taken_port(port: int) -> None:
    """`CryptaiError` naming the port when something listens on it already or it may not be used."""
    with socket.socket() as probe:
        # As servers do: a connection of an earlier server that is still fading away does not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise CryptaiError(f"port {port} on {HOST} may not be used by this user; choose one above 1023: --port N") from None
        except OSError:
            raise CryptaiError(f"port {port} on {HOST} is taken; stop what listens there or choose another: --port N") from None


def answers(port: int) -> bool:
    """Does something accept connections on `port`?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
