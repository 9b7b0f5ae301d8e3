"""A way to a server that can be cut, and that speaks TLS if it is told to."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Passes on what comes, on a port of its own; as a context manager it ends with the block.

    Parameters
    ----------
    port
        Of the server.
    context
        If clients are to speak TLS: with which certificate.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._target, self._context = port, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.left: int | None = None
        """After how many further bytes from a client all connections are cut, once; None for never."""
        self.cuts = 0
        """How often that was so."""
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5.0)
                server.settimeout(None)
                if self._context is not None:
                    client = self._context.wrap_socket(client, server_side=True)
            except OSError:  # a client that does not trust us, or a server that is not there
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for source, target, let_through in ((client, server, self._counted), (server, client, len)):
                threading.Thread(target=self._pass, args=(source, target, let_through), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, let_through: Callable[[bytes], int]) -> None:
        try:
            while data := source.recv(65_536):
                count = let_through(data)
                target.sendall(data[:count])
                if count < len(data):
                    self.cut()
        except OSError:
            pass
        finally:
            for each in (source, target):
                each.close()

    def _counted(self, data: bytes) -> int:
        with self._lock:
            if self.left is None:
                return len(data)
            count = min(self.left, len(data))
            self.left -= count
            if count < len(data):
                self.left = None
                self.cuts += 1
            return count

    def cut(self) -> None:
        """End all connections in the middle of whatever they say."""
        with self._lock:
            ended, self._open = self._open, []
        for each in ended:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()
