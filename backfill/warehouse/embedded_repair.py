"""What a killed ClickHouse leaves half done, put right before the engine opens its directory again.

A table that drops repeated inserts writes down an insert's name first and moves its rows into place afterwards. Killed
in between, it remembers a name whose rows were never there, and drops the insert when it is sent again, with success:
acknowledged and lost. Parts on disk are the truth, so names without a part are forgotten. This has to happen before the
engine runs: a later merge of the neighbours would cover the gap.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

ADDED = "1"
_PART = re.compile(r"(.+?)_(\d+)_(\d+)_\d+(?:_\d+)?\Z")
Blocks = dict[str, list[tuple[int, int]]]


def forget_unborn(store: Path) -> int:
    """Take the names of inserts whose rows never came into place out of every table's log; how many there were."""
    return sum(_mend(log) for log in sorted(store.glob("store/*/*/deduplication_logs/*.txt")))


def _mend(log: Path) -> int:
    text = log.read_text()
    blocks = _blocks(log.parent.parent)
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if _is_there(line, blocks)]
    if len(kept) < len(lines):
        beside = log.with_suffix(".tmp")
        with beside.open("w") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(log)
    return len(lines) - len(kept)


def _blocks(table: Path) -> Blocks:
    """By partition, the block numbers that the parts on disk stand for."""
    found: Blocks = defaultdict(list)
    for entry in table.iterdir():
        if (name := _PART.match(entry.name)) and not entry.name.startswith("tmp"):
            found[name[1]].append((int(name[2]), int(name[3])))
    return found


def _is_there(line: str, blocks: Blocks) -> bool:
    """Whether a line's part is on disk, by itself or merged; lines that we do not understand stay."""
    word, _, rest = line.partition("\t")
    part = _PART.match(rest.partition("\t")[0])
    if word != ADDED or part is None:
        return True
    first, last = int(part[2]), int(part[3])
    return any(low <= first and last <= high for low, high in blocks.get(part[1], ()))
