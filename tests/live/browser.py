"""A headless Chromium, spoken to in its DevTools protocol over two pipes: no driver, no package, no port.

Messages are JSON ended by a NUL byte; commands go in on descriptor 3, answers and events come out on descriptor 4.
https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TIMEOUT_S = 30.0
FLAGS = (
    *(
        "--headless=new",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--remote-debugging-pipe",
    ),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,1600"),
)


def find_chromium() -> str | None:
    """Return the path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page; remembers what it requested, and what went wrong in it."""

    def __init__(self, commands: IO[bytes], answers: IO[bytes]) -> None:
        self._commands = commands
        self._answers = answers
        self._n_sent = 0
        self._session = ""
        self._is_loaded = False
        self.requests: list[str] = []  # URLs, in order
        self.problems: list[str] = []  # console errors, uncaught exceptions, failed loads

    def open(self, url: str) -> None:
        """Load *url* to its end, which starts the recording anew."""
        if not self._session:
            target = self._send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._send(f"{domain}.enable")
        self.requests, self.problems, self._is_loaded = [], [], False
        self._send("Page.navigate", url=url)
        while not self._is_loaded:
            self._note(self._receive())

    def evaluate(self, script: str) -> Any:
        """Run a script; return its value, of a promise when it settles."""
        answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Wait until the value of a script is true, and return it. The page looks for itself, 20 times a second."""
        look = f"const look = () => {{ const value = {script}; value ? resolve(value) : setTimeout(look, 50) }}; look()"
        return self.evaluate(f"new Promise(resolve => {{ {look} }})")

    def screenshot(self, path: Path) -> None:
        """Write what the page shows, as PNG."""
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._n_sent += 1
        message: dict[str, Any] = {"id": self._n_sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._receive()).get("id") != self._n_sent:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _note(self, message: dict[str, Any]) -> None:
        event, parameters = message.get("method"), message.get("params", {})
        if event == "Page.loadEventFired":
            self._is_loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event == "Network.loadingFailed" and not parameters.get("canceled"):
            self.problems.append(parameters["errorText"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and parameters["type"] in {"error", "assert"}:
            self.problems.append(json.dumps(parameters["args"]))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])


@contextlib.contextmanager
def browsing(chromium: str, profile: Path) -> Iterator[Page]:
    """Run a browser with an empty *profile* as long as the context lasts."""
    commands_read, commands_write = os.pipe()
    answers_read, answers_write = os.pipe()
    # Chromium takes descriptors 3 and 4, and a shell is the plain way to put pipes there. Its own sandbox needs
    # privileges that neither root nor a container has; the pages are our own.
    script = f'exec "$0" "$@" 3</proc/self/fd/{commands_read} 4>/proc/self/fd/{answers_write}'
    command = ["/bin/sh", "-c", script, chromium, *FLAGS, "--no-sandbox", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command, pass_fds=(commands_read, answers_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(commands_read)
    os.close(answers_write)
    with open(commands_write, "wb") as commands, open(answers_read, "rb") as answers:  # noqa: PTH123 - descriptors
        try:
            yield Page(commands, answers)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
