"""A simulator as a child process: it can be killed, and its stamps do not share an interpreter with the client."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

import orjson

_ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 180.0
"""A world with hundreds of thousands of fills takes most of a minute on a machine that has other work too."""
STOP_SECONDS = 10.0


class SimulatorProcess:
    """`with SimulatorProcess(tokens=500, latency_ms=0) as sim: …`; the options are those of `runner.RunOptions`."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.ready: dict[str, Any] = {}
        """What the child announced: URLs, pid, environment variables, figures of the world."""
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the child and wait until it listens."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the child."""
        self.stop()

    def start(self) -> None:
        """Start the child and wait for its ready line; RuntimeError where it does not come."""
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "backfill.simulator",
                orjson.dumps({"parent": os.getpid(), **self.options}).decode(),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        line = self._first_line(self._child)
        try:
            self.ready = orjson.loads(line)
        except orjson.JSONDecodeError:
            self.kill()
            raise RuntimeError(f"the simulator did not become ready; it said {line!r}") from None

    def _first_line(self, child: subprocess.Popen[bytes]) -> bytes:
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            return child.stdout.readline() if selector.select(READY_SECONDS) else b""

    @property
    def base_url(self) -> str:
        """Root of the server."""
        return str(self.ready["base_url"])

    @property
    def dome_url(self) -> str:
        """What to configure as Dome's base URL."""
        return str(self.ready["dome_url"])

    @property
    def goldsky_url(self) -> str:
        """What to configure as Goldsky's base URL."""
        return str(self.ready["goldsky_url"])

    def url_of(self, upstream: str) -> str:
        """What to configure as this upstream's base URL (Polygon: as its RPC URL)."""
        return str(self.ready[f"{upstream}_url"])

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that point the product here."""
        return dict(self.ready["env"])

    @property
    def pid(self) -> int:
        """Process id of the child."""
        assert self._child is not None
        return self._child.pid

    def summary(self, *, reset: bool = False) -> dict[str, Any]:
        """Figures by upstream, as `Simulator.summary` gives them."""
        return dict(self._get(f"/_sim/summary?reset={int(reset)}"))

    def record(self, *, reset: bool = False) -> list[dict[str, Any]]:
        """Every arrival, as JSON objects."""
        return list(self._get(f"/_sim/record?reset={int(reset)}")["arrivals"])

    def lied_about(self, upstream: str) -> dict[int, str]:
        """Tokens that this upstream answers wrongly, and how."""
        return {int(token): lie for token, lie in self._get("/_sim/lies")[upstream].items()}

    def set_mode(self, upstream: str, mode: str) -> None:
        """Change how an upstream behaves from the next request on."""
        self._post("/_sim/mode", {"upstream": upstream, "mode": mode})

    def set_faults(self, profile: str | dict[str, Any]) -> None:
        """Change what goes wrong from the next request on: a profile's name or its parts."""
        self._post("/_sim/faults", {"profile": profile})

    def set_clock(self, now: int | None) -> None:
        """Let it be that moment (unix seconds) from the next request on; None for the end of the world's history."""
        self._post("/_sim/clock", {"now": now})

    def configure(self, upstream: str, **quirks: Any) -> None:
        """Change quirks of an upstream."""
        self._post("/_sim/configure", {"upstream": upstream, **quirks})

    def stop(self) -> int:
        """Ask the child to stop (SIGTERM) and wait; its exit code."""
        if self._child is None:
            return 0
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        return self._wait(self._child)

    def kill(self) -> None:
        """End the child at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._wait(self._child)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()
        finally:
            if child.stdout is not None:
                child.stdout.close()

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.base_url + path, timeout=STOP_SECONDS) as answer:
            return orjson.loads(answer.read())

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        request = urllib.request.Request(self.base_url + path, data=orjson.dumps(content), method="POST")
        with urllib.request.urlopen(request, timeout=STOP_SECONDS) as answer:
            return orjson.loads(answer.read())
