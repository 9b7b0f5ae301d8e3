"""Receives holdfast's webhooks: `WEBHOOK_SECRET=whsec_… python examples/webhook_receiver.py`. Needs Python alone."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 300
BODY_BYTES_MAX = 8_000_000
SEEN_MAX = 10_000
SEEN: "OrderedDict[str, None]" = OrderedDict()


def verify(secret: str, headers, body: bytes, now_s: float) -> bool:
    """Tell whether a request was signed with the secret, and not long ago."""
    name, at, given = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not at.isdecimal() or abs(now_s - int(at)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = name.encode() + b"." + at.encode() + b"." + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in given.split())


class Receiver(BaseHTTPRequestHandler):
    """Takes each event once."""

    timeout = 10

    def do_POST(self) -> None:
        """Verify, then act; an event that came before is taken again without doing anything."""
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(min(length, BODY_BYTES_MAX))
        if not verify(os.environ["WEBHOOK_SECRET"], self.headers, body, time.time()):
            self.send_error(401)
            return
        if self.headers["webhook-id"] not in SEEN:
            SEEN[self.headers["webhook-id"]] = None
            while len(SEEN) > SEEN_MAX:
                SEEN.popitem(last=False)
            event = json.loads(body)
            sys.stdout.write(f"{event.get('subject')}: {event['data']['action']}\n")
            sys.stdout.flush()
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9490"))), Receiver)
    sys.stderr.write(f"listening on {server.server_address[1]}\n")
    sys.stderr.flush()
    server.serve_forever()
