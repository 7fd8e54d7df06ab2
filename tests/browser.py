"""A headless Chromium for tests, driven over its DevTools protocol; nothing but `websockets` is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Tab:
    """One page of a browser.

    call: a method of the protocol. ask: the value of JavaScript. until: waits for JavaScript to be true.
    """

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self._socket = connect(address, max_size=None, compression=None, ping_interval=None)
        self._number = 0
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            held = json.loads(self._socket.recv(timeout=120))
            if held.get("id") == self._number:
                assert "error" not in held, held["error"]
                return held["result"]

    def ask(self, script: str) -> Any:
        held = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in held, held["exceptionDetails"]
        return held["result"].get("value")

    def until(self, script: str, seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            held = self.call("Runtime.evaluate", expression=script, returnByValue=True)
            if found := held["result"].get("value") if "exceptionDetails" not in held else None:
                return found  # what is not there yet is no error
            time.sleep(0.1)
        raise AssertionError(
            f"never came true in {seconds:g} s: {script}\n{self.ask('document.body.innerText')[:1500]}"
        )

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def upload(self, selector: str, *files: Path) -> None:
        """Gives files to the first <input type=file> that the selector finds."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def picture(self, path: Path, whole: bool = True) -> Path:
        held = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(held["data"]))
        return path


class Browser:
    """Chromium with a profile of its own; `tab` opens a page."""

    def __init__(self, home: Path) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            pytest.skip("no Chromium here")
        pytest.importorskip("websockets")
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-dev-shm-usage "
            "--allow-file-access-from-files --remote-debugging-port=0"
        )
        self._process = subprocess.Popen(
            [program, *flags.split(), f"--user-data-dir={home}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home)},
        )
        port, end = home / "DevToolsActivePort", time.monotonic() + 30
        while not (port.exists() and port.read_text().strip()):
            assert time.monotonic() < end and self._process.poll() is None, "Chromium did not start"
            time.sleep(0.05)
        self._address = f"http://127.0.0.1:{port.read_text().split()[0]}"

    def tab(self) -> Tab:
        asked = urllib.request.Request(f"{self._address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return Tab(json.load(answer)["webSocketDebuggerUrl"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
