"""A way to a server that can be cut, and that speaks TLS if it is told to."""

import socket
import ssl
import threading
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
        self.said: int | None = None
        """The same of what the server says."""
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
            for source, target, name in ((client, server, "left"), (server, client, "said")):
                threading.Thread(target=self._pass, args=(source, target, name), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, name: str) -> None:
        try:
            while data := source.recv(65_536):
                count = self._counted(name, len(data))
                target.sendall(data[:count])
                if count < len(data):
                    self.cut()
        except OSError:
            pass
        finally:
            for each in (source, target):
                each.close()

    def _counted(self, name: str, length: int) -> int:
        """Say how much of what came is passed on."""
        with self._lock:
            left: int | None = getattr(self, name)
            if left is None or left >= length:
                setattr(self, name, None if left is None else left - length)
                return length
            setattr(self, name, None)
            self.cuts += 1
            return left

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
