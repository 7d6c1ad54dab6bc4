"""`python -m backfill.simulator [OPTIONS AS A JSON OBJECT]`: the runner that `SimulatorProcess` starts.

People use `backfill simulate`. The first line on stdout is one JSON document, printed once the server listens.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson

from .runner import RunOptions, run


def announce(ready: dict[str, Any]) -> None:
    """Print the ready line at once."""
    print(orjson.dumps(ready).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(run(RunOptions(**orjson.loads(sys.argv[1] if len(sys.argv) > 1 else "{}")), announce))
