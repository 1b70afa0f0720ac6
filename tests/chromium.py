"""A page in headless Chromium, driven by the DevTools protocol through a pair of pipes."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

# Chromium reads commands from descriptor 3 and answers on 4.
LAUNCH = """
import fcntl, os, sys
# Out of the way first: they may be 3 and 4 themselves.
reads, writes = (fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


class Page:
    """A page that is open, and what it has complained of.

    Attributes:
        complaints: Exceptions, whatever was written to the console, and what the browser logged.
    """

    def __init__(self, commands, answers):
        self._commands, self._answers, self._count, self._session = commands, answers, 0, None
        self._events = []
        self.complaints = []

    def open(self, address):
        """Go to an address, and wait until it is there."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self._read()

    def send(self, method, **parameters):
        """A command and its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def drag(self, start, end, *, steps=4):
        """Press the mouse at one place, move it to another and let go."""
        places = [
            [a + (b - a) * step / steps for a, b in zip(start, end, strict=True)]
            for step in range(steps + 1)
        ]
        for kind, (x, y) in (
            ("mousePressed", places[0]),
            *(("mouseMoved", place) for place in places[1:]),
            ("mouseReleased", places[-1]),
        ):
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=int(kind != "mouseReleased"),
                clickCount=1,
            )

    def touch(self, start, end):
        """The same with a finger."""
        for kind, places in (("touchStart", [start]), ("touchMove", [end]), ("touchEnd", [])):
            points = [{"x": x, "y": y} for x, y in places]
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def press(self, key):
        """A key on the keyboard, by its name."""
        code = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def screenshot(self, file, *, width, height, scheme="light"):
        """The page as it looks in a window of some size."""
        self.resize(width, height)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def resize(self, width, height):
        """Give the window another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def _read(self):
        text = bytearray()
        while not text.endswith(b"\0"):
            byte = self._answers.read(1)
            assert byte, "Chromium has ended"
            text += byte
        message = json.loads(text[:-1])
        method = message.get("method")
        self._events.append(method)
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(message["params"])
        return message


def installed():
    """The browser's program, or a skip."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium: install it to see that a browser draws the page")
    return browser


@contextlib.contextmanager
def opened(file, profile):
    """A file as a `Page`; the test is skipped where there is no Chromium.

    Arguments:
        file: What is opened.
        profile: A folder for the browser's own files.
    """
    browser = installed()
    reads, commands = os.pipe()
    answers, writes = os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", LAUNCH, str(reads), str(writes)),
            *(browser, *FLAGS, f"--user-data-dir={profile}"),
        ],
        pass_fds=(reads, writes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(reads)
    os.close(writes)
    try:
        with os.fdopen(commands, "wb") as out, os.fdopen(answers, "rb") as back:
            page = Page(out, back)
            page.open(file.as_uri())
            yield page
            page._session = None
            page.send("Browser.close")
    finally:
        process.terminate()
        process.wait()
