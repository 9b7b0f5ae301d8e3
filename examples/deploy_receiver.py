"""Receives holdfast's actions, and reports what hosts have: a deployer of one's own, in Python alone.

`WEBHOOK_SECRET=whsec_… HOLDFAST_API=http://127.0.0.1:9480 STATE=state.json python examples/deploy_receiver.py`, with
`HOLDFAST_TOKEN` where the API asks for one. What it does to a host is to write down what the host has; put your own
distribution in the place of `apply`.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

TOLERANCE_S = 300
BODY_BYTES_MAX = 64_000_000
ORDERS: "queue.Queue[dict]" = queue.Queue(maxsize=1_000)


def verify(secret: str, headers, body: bytes, now_s: float) -> bool:
    """Tell whether a request was signed with the secret, and not long ago."""
    name, at, given = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not at.isdecimal() or abs(now_s - int(at)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = name.encode() + b"." + at.encode() + b"." + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in given.split())


class Hosts:
    """What each host has, in a file: written aside, brought to the disk, and renamed."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.hosts: dict = json.loads(path.read_text()) if path.exists() else {}
        self._sequence = 0

    def take(self, order: dict) -> list[str]:
        """Do an action, and name its hosts. The number says whether a host has done it, or a later one, already."""
        with self._lock:
            changed = []
            for group in order["groups"]:
                for host in group["hosts"]:
                    state = self.hosts.setdefault(host["host"], {**host, "units": {}, "numbers": {}})
                    if state["numbers"].get(order["rollout"], 0) < order["number"]:
                        apply(state, group["units"])
                        state["numbers"][order["rollout"]] = order["number"]
                    changed.append(host["host"])
            self._keep()
            return changed

    def _keep(self) -> None:
        aside = self._path.with_suffix(".next")
        with aside.open("w") as file:
            json.dump(self.hosts, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path)

    def reports(self, names: list[str]) -> list[dict]:
        """Write what hosts have as reports; the sequence grows with each, over restarts too."""
        with self._lock:
            self._sequence = max(self._sequence + 1, time.time_ns() // 1_000_000)
            at = datetime.now(UTC).isoformat()
            return [{**self.hosts[name], "sequence": self._sequence, "at": at} for name in names]


def apply(state: dict, units: dict) -> None:
    """Give a host units; one without a digest is taken away."""
    for name, unit in units.items():
        if unit["digest"] is None:
            state["units"].pop(name, None)
        else:
            state["units"][name] = unit["digest"]


def report(api: str, token: str | None, reports: list[dict]) -> None:
    """Tell holdfast what hosts have."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    body = json.dumps({"reports": reports}).encode()
    parts = urlsplit(api)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("POST", "/v1/reports", body, headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        message = f"status {status}"
        raise OSError(message)


def work(hosts: Hosts) -> None:
    """Report all hosts every 30 s, and those of an action once it is done."""
    api, token = os.environ["HOLDFAST_API"], os.environ.get("HOLDFAST_TOKEN")
    due = 0.0
    while True:
        try:
            names = hosts.take(ORDERS.get(timeout=max(0.1, due - time.monotonic())))
        except queue.Empty:
            names, due = list(hosts.hosts), time.monotonic() + 30
        try:
            if names:
                report(api, token, hosts.reports(names))
        except (OSError, http.client.HTTPException) as error:
            sys.stderr.write(f"not reported: {error}\n")
            due = time.monotonic() + 2


class Receiver(BaseHTTPRequestHandler):
    """Takes actions on, and acknowledges each by its id."""

    timeout = 10

    def do_POST(self) -> None:
        """Verify, write down, acknowledge. What has been acknowledged must not be lost: here it is done before."""
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(min(length, BODY_BYTES_MAX))
        if not verify(os.environ["WEBHOOK_SECRET"], self.headers, body, time.time()):
            self.send_error(401)
            return
        order = json.loads(body)
        self.server.hosts.take(order)
        ORDERS.put(order)  # to be reported
        answer = json.dumps({"id": order["id"]}).encode()
        self.send_response(202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        sys.stdout.write(f"{order['rollout']}: {order['action']} {order['number']}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9491"))), Receiver)
    server.hosts = Hosts(Path(os.environ["STATE"]))
    threading.Thread(target=work, args=(server.hosts,), daemon=True).start()
    sys.stderr.write(f"listening on {server.server_address[1]}\n")
    sys.stderr.flush()
    server.serve_forever()
