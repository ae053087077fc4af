"""Serving an application on loopback until it is told to stop. What it answers stands in the module of the application."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cryptai_pipelines.market.errors import CryptaiError

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
_MOST_CONNECTIONS = 64
_GRACE_S = 5


def serve(app: Any, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then return. `ready` is called with the base URL. `CryptaiError` for a taken port."""
    server, listening = _server(app), _listen(port)

    async def run() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, lambda: setattr(server, "should_exit", True))
        ready(_base_url(listening))
        await server.serve(sockets=[listening])

    asyncio.run(run())


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve on a thread and a free port while the block runs; gives the base URL."""
    server, listening = _server(app), _listen(0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), name="web", daemon=True)
    thread.start()
    try:
        yield _base_url(listening)
    finally:
        server.should_exit = True
        thread.join()


def _server(app: Any) -> uvicorn.Server:
    """A server that logs no request, since a path may hold a secret, and leaves signals to its caller."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    # Its own switch only takes its handlers away, and whoever adds one later would read secrets.
    logging.getLogger("uvicorn.access").disabled = True
    return Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_GRACE_S,
            proxy_headers=False,
            ws="none",
        )
    )


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise CryptaiError(f"port {port} on {HOST} cannot be used: {error.strerror}; choose another with --port") from None
    return listening


def _base_url(listening: socket.socket) -> str:
    return f"http://{HOST}:{listening.getsockname()[1]}"
