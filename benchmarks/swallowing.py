"""Today's ClickHouse behind as much of its HTTP as clickhouse-connect needs: `python -m benchmarks.swallowing PORT`.

Debian's server is too old for clickhouse-connect, and the embedded engine has no network. What is put in is read to its
end and thrown away: only the client's processor time is measured.
"""

import importlib
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from sinks.schema import FOUNDATION, STEPS, Place

_VERSIONED: Final = 1
"""The version of the schema whose tables are made."""


def server(port: int, session: Any) -> HTTPServer:
    """Make a server that asks a session of chdb."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer a question of few words."""
            self._answer("")

        def do_POST(self) -> None:
            """Answer a question, or swallow rows."""
            if self.headers.get("Transfer-Encoding") == "chunked":
                self._swallow()
                self._answer("")
            else:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode(errors="replace"))

        def _swallow(self) -> None:
            while length := int(self.rfile.readline(), 16):
                self.rfile.read(length + 2)
            self.rfile.readline()

        def _answer(self, body: str) -> None:
            query = parse_qs(urlsplit(self.path).query).get("query", [""])[0] or body
            answer = b"" if query.startswith("INSERT") else bytes(session.query(query, "TabSeparated").bytes())
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return HTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until stopped."""
    with tempfile.TemporaryDirectory() as folder:
        session = importlib.import_module("chdb.session").Session(folder)
        for statement in (*FOUNDATION, *(step.statement for step in STEPS if step.version == _VERSIONED)):
            session.query(str(Place().statement(statement)))
        server(int(sys.argv[1]), session).serve_forever()


if __name__ == "__main__":
    main()
