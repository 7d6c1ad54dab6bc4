"""Refused rows, once more by the rules of today: those that pass go where they belong, and their letters go.

A row of a token track is parsed again by its lane and judged by arithmetic at once; a contradicted answer is judged
again; a row of an import is imported again; a row of any other track is read with its unit (`replay_lanes`). First the
rows are durable, then the letters are removed: a crash in between leaves letters whose next replay changes nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from backfill.engine.checkpoint import CheckpointFile, lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import Lane, Unit
from backfill.engine.plan import PlanBook
from backfill.engine.progress import Progress
from backfill.errors import BackfillError, StateError
from backfill.files import held
from backfill.ids import Verdict, judge
from backfill.log import Logger
from backfill.stages import dumps, imports, shapes
from backfill.stages.replay_lanes import LaneReplay
from backfill.tracks import batches, dome_tokens
from backfill.tracks.catalog import TRACK_NAMES
from backfill.tracks.tokens import TOKEN_TRACKS, TokenTrack, lane
from backfill.warehouse import queries

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.warehouse.client import Warehouse

Letter = Mapping[str, Any]
IMPORT_SHAPES: Final[dict[str, Sequence[shapes.Shape[Any]]]] = {
    "import_fills": shapes.FILLS,
    "import_token_map": shapes.MAPPINGS,
}
IMPORT_LOCK = "import"
_PROOF_COLUMNS = ("token_id", "condition_id_norm", "outcome_index", "verdict", "detail")


@dataclass(slots=True)
class Replay:
    """What became of the letters: ids of those that passed, and of the others with the reason.

    `to_merge` says that rows were staged that a merge brings to their place.
    """

    dry_run: bool
    passed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    to_merge: bool = False

    @property
    def replayed(self) -> int:
        """Letters that passed."""
        return len(self.passed)

    @property
    def still_refused(self) -> int:
        """Letters that stay."""
        return len(self.refused)

    def document(self) -> dict[str, Any]:
        """The JSON of `dead-letters replay`."""
        refused = [{"id": identity, "reason": reason} for identity, reason in self.refused.items()]
        return {
            "replayed": self.replayed,
            "still_refused": self.still_refused,
            "dry_run": self.dry_run,
            "passed": self.passed,
            "refused": refused,
        }


class Claim(NamedTuple):
    """What an answer says of a token."""

    token: int
    condition: str
    outcome: int


class Derived(NamedTuple):
    """What a letter comes to: rows for staging, and verdicts that have changed."""

    lines: tuple[bytes, ...] = ()
    verdicts: tuple[tuple[Claim, Verdict], ...] = ()


class StillRefusedError(ValueError):
    """The rules of today refuse the row as well; the text says why."""


async def run_replay(
    config: Config, warehouse: Warehouse, letters: Sequence[Letter], log: Logger, *, dry_run: bool
) -> Replay:
    """Replay the letters, track by track.

    Raises:
        TrackHeld: a run works on one of the tracks, or an import is running.
    """
    found = Replay(dry_run)
    for name in dict.fromkeys(letter["track"] for letter in letters):
        mine = [letter for letter in letters if letter["track"] == name]
        if name in TOKEN_TRACKS:
            await _Tokens(config, warehouse, TOKEN_TRACKS[name], found).run(mine)
        elif name in IMPORT_SHAPES:
            await _Imports(config, warehouse, name, found).run(mine)
        elif name in TRACK_NAMES:
            replayed = await LaneReplay(config, warehouse, name, log, dry_run).run(mine)
            found.passed += replayed.passed
            found.refused |= replayed.refused
        else:
            found.refused |= dict.fromkeys((letter["id"] for letter in mine), f"{name} is no track of this program")
    return found


def answer_of(track: str, raw: str) -> tuple[bytes, tuple[str, ...]]:
    """A refused row as an answer of its upstream, and the token ids in it; a whole answer stays as it is.

    Raises:
        StillRefusedError: it is not JSON.
    """
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise StillRefusedError(f"not JSON: {error}") from None
    dome, whole = track == dome_tokens.NAME, isinstance(found, dict) and ("markets" in found or "data" in found)
    rows = _rows_of(found) if whole else [found]
    ids = tuple(token for row in rows for token in _ids(row, dome) if batches.is_token(token))
    if whole:
        return raw.encode(), ids
    paging = {"limit": 1, "total": 1, "has_more": False}
    document = {"markets": rows, "pagination": paging} if dome else {"data": {"positions": rows}}
    return orjson.dumps(document), ids


def _rows_of(answer: dict[str, Any]) -> list[Any]:
    data = answer.get("data")
    rows = data.get("positions") if isinstance(data, dict) else answer.get("markets")
    return rows if isinstance(rows, list) else []


def _ids(row: Any, dome: bool) -> list[Any]:
    if not isinstance(row, dict):
        return []
    if not dome:
        return [row.get("id")]
    sides = (row.get("side_a"), row.get("side_b"))
    return [side.get("id") for side in sides if isinstance(side, dict)]


def parsed_again(of: Lane, letter: Letter) -> tuple[bytes, ...]:
    """The rows that a letter's raw text becomes by the lane's rules of today.

    Raises:
        StillRefusedError: it does not pass them.
    """
    body, ids = answer_of(of.name, letter["raw"])
    try:
        page = of.parse(Unit(int(letter["unit"]), ids), None, body)
    except BackfillError as error:
        raise StillRefusedError(str(error)) from None
    if page.letters:
        raise StillRefusedError(page.letters[0].reason)
    if not page.lines:
        raise StillRefusedError("no row in it")
    return tuple(page.lines)


def claim_of(row: bytes | str) -> Claim:
    """What a row of staging, as JSON, claims.

    Raises:
        StillRefusedError: it is none.
    """
    try:
        found = orjson.loads(row)
        return Claim(int(found["token_id"]), str(found["condition_id_norm"]), int(found["outcome_index"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise StillRefusedError(f"not a staged row: {type(error).__name__} {error}") from None


@dataclass(slots=True)
class _Tokens:
    """The replay of one token track; nobody else may be working on it."""

    config: Config
    warehouse: Warehouse
    track: TokenTrack
    found: Replay

    async def run(self, letters: Sequence[Letter]) -> None:
        name = self.track.name
        with held(lock_path(self.config.run.checkpoint_dir, name), what=name):
            progress, rules = self._progress(), lane(name, self.config)
            passed: dict[str, Derived] = {}
            for letter in letters:
                try:
                    passed[letter["id"]] = await self._derive(letter, progress, rules)
                except StillRefusedError as error:
                    self.found.refused[letter["id"]] = str(error)
            self.found.passed += passed
            if passed and not self.found.dry_run:
                self.found.to_merge = True
                await self._keep(list(passed.values()))
                DeadLetters(self.config.run.data_dir).remove(name, passed)

    def _progress(self) -> Progress:
        """The ledger of the current plan; a fresh one where there is none that fits."""
        folder = self.config.run.checkpoint_dir
        try:
            plan = PlanBook(folder).current()
            if plan is not None:
                return CheckpointFile(folder, self.track.name).peek(plan.plan_id, lambda _: None)
        except StateError:
            pass  # a run says so; a row can be replayed all the same
        return Progress()

    async def _derive(self, letter: Letter, progress: Progress, rules: Lane) -> Derived:
        cls = letter["class"]
        if cls == "disproven":
            return _judged_again(claim_of(letter["raw"]))
        if cls == "unreadable" and int(letter["unit"]) in progress.done:
            return Derived()  # the unit was asked again since, and that answer could be read
        if cls not in ("contract", "conflict", "unreadable"):
            raise StillRefusedError(f"a {cls} request has no row to replay; backfill retry-failed asks again")
        lines = parsed_again(rules, letter)
        for line in lines:
            await self._admit(claim_of(line), cls)
        return Derived(lines)

    async def _admit(self, claim: Claim, cls: str) -> None:
        """Arithmetic decides; where it cannot, an answer that is there may not be replaced by a refused one."""
        verdict = judge(*claim)
        if verdict.result == "proven":
            return
        if verdict.result == "disproven":
            raise StillRefusedError(f"token {claim.token}: {verdict.detail}")
        values = {"table": self.track.table, "tokens": [claim.token]}
        if cls == "conflict" or await self.warehouse.fetch(queries.load("staged_among"), values):
            raise StillRefusedError(f"token {claim.token}: there is another answer, and neither can be proven")

    async def _keep(self, derived: Sequence[Derived]) -> None:
        lines = [line for each in derived for line in each.lines]
        if lines:
            body = b"\n".join(lines)
            await self.warehouse.insert(
                f"staging.{self.track.table}", body, token=f"replay-{hashlib.sha256(body).hexdigest()}"
            )
        proofs = [(*claim, *verdict) for each in derived for claim, verdict in each.verdicts]
        if proofs:
            rows = (dict(zip(_PROOF_COLUMNS, (str(proof[0]), *proof[1:]), strict=True)) for proof in proofs)
            await self.warehouse.insert("staging.token_proofs", b"\n".join(map(orjson.dumps, rows)))


def _judged_again(claim: Claim) -> Derived:
    """Its staging row decides at merge, once the verdict that is kept is the new one."""
    verdict = judge(*claim)
    if verdict.result == "disproven":
        raise StillRefusedError(verdict.detail)
    return Derived(verdicts=((claim, verdict),))


@dataclass(slots=True)
class _Imports:
    """The replay of an import's letters: a row that passes the checks of today is imported from a file of its own."""

    config: Config
    warehouse: Warehouse
    name: str
    found: Replay

    async def run(self, letters: Sequence[Letter]) -> None:
        able: list[Letter] = []
        for letter in letters:
            try:
                self._check(letter)
                able.append(letter)
            except ValueError as error:
                self.found.refused[letter["id"]] = str(error)
        able = await self._without_refused(able)
        if able and not self.found.dry_run:
            await self._import(able, dry_run=False)
            folder = self.config.run.checkpoint_dir
            with held(lock_path(folder, IMPORT_LOCK), what="import"):
                DeadLetters(self.config.run.data_dir).remove(self.name, [letter["id"] for letter in able])
        self.found.passed += [letter["id"] for letter in able]

    def _check(self, letter: Letter) -> None:
        """Everything that can be said without the warehouse."""
        values = dumps.exact_json(str(letter["raw"]).encode())
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        try:
            shape: shapes.Shape[Any] = shapes.recognise(values, IMPORT_SHAPES[self.name], where="the letter")
            rows = shape.convert(values)
        except (BackfillError, KeyError) as error:
            raise ValueError(str(error)) from None
        for row in rows if self.name == "import_token_map" else ():
            verdict = judge(row.token_id, row.condition_id_norm, row.outcome_index)
            if verdict.result == "disproven":
                raise ValueError(verdict.detail)

    async def _without_refused(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those that the warehouse takes as well: a rehearsal shows conflicts with what is there."""
        if not letters:
            return []
        report = await self._import(letters, dry_run=True)
        able = []
        for letter, count in zip(letters, report.details, strict=True):
            if count.refused:
                self.found.refused[letter["id"]] = "still in conflict with a row that is there"
            else:
                able.append(letter)
        return able

    async def _import(self, letters: Sequence[Letter], *, dry_run: bool) -> imports.ImportReport:
        """One file a letter, so that the report tells them apart."""
        work = imports.import_fills if self.name == "import_fills" else imports.import_token_map
        with tempfile.TemporaryDirectory(prefix="replay-", dir=self.config.run.data_dir) as folder:
            paths: list[str | Path] = []
            for number, letter in enumerate(letters):
                path = Path(folder) / f"{number:09}.jsonl"
                path.write_bytes(" ".join(str(letter["raw"]).splitlines()).encode() + b"\n")
                paths.append(path)
            return await work(self.warehouse, self.config, paths, dry_run=dry_run)
