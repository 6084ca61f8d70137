"""A headless browser that is driven by its debugging protocol: type, press keys, measure, take pictures."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Tab": 9,
    "PageUp": 33, "PageDown": 34,
}  # fmt: skip

# What a page hides or cuts off, and whether it is wider than its window.
FITS = """(() => {
  const width = innerWidth, cut = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.getClientRects().length || e.closest('.scroll > *, pre > *, .spoken, option')) continue;
    const box = e.getBoundingClientRect();
    if (box.right > width + 1 || box.left < -1) cut.push(e.tagName + '.' + e.className);
    const hides = getComputedStyle(e).overflowX !== 'visible' && !e.matches('.scroll, pre, .words, textarea');
    if (hides && e.clientWidth && e.scrollWidth > e.clientWidth + 1) cut.push('hidden: ' + e.className);
  }
  const {body, documentElement} = document;
  return {cut, fits: body.scrollWidth <= body.clientWidth, scroll: documentElement.scrollWidth - width};
})()"""


def program() -> str | None:
    """The path of a browser, None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One page of the browser. `console` collects messages, errors and refusals of the page's policy."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.count, self.console = socket, 0, list[str]()

    def send(self, method: str, **params: Any) -> Any:
        """Send a command and return its result; events that arrive meanwhile are noted."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Runtime.exceptionThrown":
                self.console.append(json.dumps(message["params"]["exceptionDetails"]))
            elif message.get("method") == "Runtime.consoleAPICalled":
                self.console.append(json.dumps(message["params"]["args"]))
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                self.console.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    def open(self, address: str, width: int = 1000, height: int = 900, dark: bool = False) -> None:
        """Open a page in a window of so many pixels."""
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        self.show(width, height, dark)
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def show(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Change the window and the colours."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 15.0) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + seconds
        while not (found := self.run(expression)):
            assert time.monotonic() < end, f"still not: {expression}; {self.console}"
            time.sleep(0.02)
        return found

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key where the focus is."""
        code = _KEYS[key]
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def hover(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path) -> None:
        """Save a picture of the whole page."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """Start a browser with an empty profile in `folder`, yield its page, stop it."""
    from websockets.sync.client import connect

    found = program()
    assert found is not None
    log = folder / "browser.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [
                found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions",
                "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
                "--hide-scrollbars", "--remote-debugging-port=0",
                f"--user-data-dir={folder / 'profile'}", "about:blank",
            ],
            stdout=errors, stderr=errors,
        )  # fmt: skip
    try:
        with connect(_address(folder / "profile", log), max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(20)


def _address(profile: Path, log: Path) -> str:
    """Wait for the browser and return the address of its page."""
    from urllib.request import ProxyHandler, build_opener

    end = time.monotonic() + 30
    port = profile / "DevToolsActivePort"
    while not (port.exists() and re.match(r"\d+\n", port.read_text())):
        assert time.monotonic() < end, log.read_text(errors="replace")[-2000:]
        time.sleep(0.05)
    number = port.read_text().split()[0]
    opener = build_opener(ProxyHandler({}))
    while True:
        pages = json.loads(opener.open(f"http://127.0.0.1:{number}/json", timeout=10).read())
        for page in pages:
            if page["type"] == "page":
                return str(page["webSocketDebuggerUrl"])
        assert time.monotonic() < end, pages
