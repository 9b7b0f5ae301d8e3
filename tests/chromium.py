"""A headless Chromium, spoken to over a pair of pipes: no driver, no port, no package."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found() -> str | None:
    """Return the path of a Chromium on this machine; HOLDFAST_TEST_CHROMIUM names another one."""
    return os.environ.get("HOLDFAST_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


_ON_ITS_WAY = ("navigated or closed", "Execution context was destroyed", "Cannot find context")


class OnItsWay(Exception):
    """The page is being left for another one, and cannot be asked."""


class Page:
    """One page of a Chromium of its own.

    Attributes
    ----------
    said
        What was said on its console, and asked of a network.
    """

    def __init__(self, binary: str) -> None:
        self.said: list[str] = []
        self._number = 0
        self._rest = b""
        self._session: str | None = None
        with ExitStack() as opened:
            profile = opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            to_read, self._out = os.pipe()
            self._in, to_write = os.pipe()
            # It reads descriptor 3 and writes descriptor 4; `exec` keeps the process that is ended the one that it is.
            command = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "-", binary]
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
            self._process = subprocess.Popen(
                [*command, *flags, f"--user-data-dir={profile}", "about:blank"],
                pass_fds=(to_read, to_write),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            os.close(to_read)
            os.close(to_write)
            opened.callback(self._end)
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self._opened = opened.pop_all()

    def call(self, method: str, **params: object) -> Any:
        """Call a method of the DevTools protocol, and note what else is told meanwhile.

        Raises
        ------
        OnItsWay
            If the page was left meanwhile.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        error = answer.get("error", {}).get("message", "")
        if any(reason in error for reason in _ON_ITS_WAY):
            raise OnItsWay(error)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def show(self, page: Path | str, width: int, scheme: str = "light", height: int = 900) -> None:
        """Open a file or an address at a width in CSS pixels, with a colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while self._note(self._next()) != "Page.loadEventFired":
            pass

    def value(self, script: str) -> Any:
        """Return what an expression comes to on the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Take a picture of what is seen, or of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        """Print the page."""
        return base64.b64decode(
            self.call("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)["data"]
        )

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._in, 1 << 20)
            assert piece, "Chromium has ended"
            self._rest += piece
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        return message

    def _note(self, message: dict[str, Any]) -> str:
        method: str = message.get("method", "")
        params = message.get("params", {})
        if method == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.said.append(json.dumps(params))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "about:")):
            self.said.append(params["request"]["url"])
        return method

    def _end(self) -> None:
        os.close(self._out)
        os.close(self._in)
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
