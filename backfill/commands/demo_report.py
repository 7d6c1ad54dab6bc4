"""What the demo found out: every figure measured, and compared with the world that the pretend upstreams serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backfill.commands.demo_profit import Money
from backfill.commands.demo_profit import lines as money_lines

Answer = tuple[int, str, int]
"""Token, condition, outcome index."""
FALSE = frozenset({"swapped", "other_condition"})
"""Lies in good form: only recomputing the id finds them. The other kinds break the upstream's contract."""
CONTROLS = "planted faults"
HEAD = 18


@dataclass(frozen=True, slots=True)
class Comparison:
    """The final map against the truth, row by row. `lost`, `wrong` and `doubled` count rows."""

    expected: int
    found: int
    lost: int
    wrong: int
    doubled: int

    @property
    def exact(self) -> bool:
        """Whether both hold the same rows, each as often."""
        return not (self.lost or self.wrong or self.doubled) and self.expected == self.found


def compare(expected: Iterable[Answer], found: Iterable[Answer]) -> Comparison:
    """Compare two multisets of answers."""
    right, there = Counter(expected), Counter(found)
    tokens = Counter(token for token, _, _ in there.elements())
    return Comparison(
        expected=right.total(),
        found=there.total(),
        lost=sum(answer not in there for answer in right),
        wrong=sum(answer not in right for answer in there),
        doubled=sum(count - 1 for count in tokens.values()),
    )


@dataclass(frozen=True, slots=True)
class Refusals:
    """The wrong answers of one track's upstream: how many it told about tokens it was asked for, and what became of
    them. `missed` names tokens whose wrong answer is not among the dead letters."""

    false_told: int
    false_caught: int
    malformed_told: int
    letters: Mapping[str, int]
    missed: tuple[int, ...]


def refusals(
    lies: Mapping[int, str], asked: set[int], conditions: Mapping[int, str], letters: Sequence[Mapping[str, Any]]
) -> Refusals:
    """Set the lies that were told against the dead letters of the track."""
    import orjson

    disproven = {int(orjson.loads(row["raw"])["token_id"]) for row in letters if row["class"] == "disproven"}
    malformed = " ".join(row["raw"] for row in letters if row["class"] == "contract")
    told = {token: lie for token, lie in lies.items() if token in asked}

    def kept_out(token: int, lie: str) -> bool:
        named = str(token) in malformed or conditions[token] in malformed
        return token in disproven or (lie not in FALSE and named)

    false = {token for token, lie in told.items() if lie in FALSE}
    return Refusals(
        false_told=len(false),
        false_caught=len(false & disproven),
        malformed_told=len(told) - len(false),
        letters=dict(Counter(row["class"] for row in letters)),
        missed=tuple(sorted(token for token, lie in told.items() if not kept_out(token, lie))),
    )


@dataclass(slots=True)
class Report:
    """Everything measured. `claims` are what must hold; the demo has failed when one does not."""

    folder: str
    world: dict[str, Any]
    best: float
    """Coverage of a run that maps every token that either upstream knows."""
    unknown: int = 0
    """Traded tokens that are neither mapped before nor known to any upstream."""
    unmapped: int = 0
    """Traded tokens without a market at the end, as verify counts them."""
    baseline: dict[str, Any] = field(default_factory=dict)
    kills: list[dict[str, Any]] = field(default_factory=list)
    kills_wanted: int = 0
    tracks: list[dict[str, Any]] = field(default_factory=list)
    merge: dict[str, Any] = field(default_factory=dict)
    verify: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    comparison: Comparison | None = None
    refused: dict[str, Refusals] = field(default_factory=dict)
    upstreams: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    money: Money = field(default_factory=Money)

    def claims(self) -> list[tuple[str, bool]]:
        """What the demo is there to show, and whether it was so."""
        caught = [control["caught"] for control in self.verify.get("controls", ())]
        windows = [window["exceeded"] for figures in self.upstreams.values() for window in figures["windows"]]
        return [
            ("every command ended as it should", all(_fine(*entry) for entry in self.codes.items())),
            ("the map is exactly the truth", self.comparison is not None and self.comparison.exact),
            ("no wrong answer came in unseen", not any(each.missed for each in self.refused.values())),
            ("no request window was exceeded", bool(windows) and not any(windows)),
            ("every gate passed", bool(self.verify.get("passed"))),
            ("every planted fault was caught", bool(caught) and all(caught)),
            *self.money.claims(),
        ]

    @property
    def passed(self) -> bool:
        """Whether all of it holds."""
        return all(held for _, held in self.claims())

    def document(self) -> dict[str, Any]:
        """The JSON of `demo`."""
        from dataclasses import asdict

        found = asdict(self)
        claims = [{"name": name, "passed": held} for name, held in self.claims()]
        return {"passed": self.passed, "claims": claims, **found}


def _fine(command: str, code: int) -> bool:
    """A run ends with 4 when rows were refused, which is what liars are there for."""
    return code == 0 or (command == "run tokens" and code == 4)


def lines(report: Report) -> list[str]:
    """The report for people."""
    return [
        _line("coverage", _coverage(report)),
        *(_line(track["track"], _track(track)) for track in report.tracks),
        *_merged(report.merge, report.sources),
        _line("still unmapped", _rest(report)),
        *_kept_out(report.refused),
        *_killed(report),
        *_windows(report.upstreams),
        _line("put in on purpose", _faults(report.upstreams)),
        *_gates(report.verify),
        _line("truth", _truth(report.comparison)),
        *money_lines(report.money, _line),
        _line("time", _times(report.seconds)),
    ]


def _line(head: str, text: str) -> str:
    return f"{head:<{HEAD}}  {text}"


def _coverage(report: Report) -> str:
    before, after = report.merge.get("coverage_before"), report.merge.get("coverage_after")
    if before is None or after is None:
        return "not measured: the merge did not come to its end"
    return f"{before:.2%} → {after:.2%} of {report.baseline['unique_ids']:,} traded tokens; at best {report.best:.2%}"


def _track(track: Mapping[str, Any]) -> str:
    return (
        f"{track['state']}: {track['processed']:,} of {track['total']:,} tokens asked, {track['inserted']:,} mapped, "
        f"{track['failed_units']:,} units failed, {track['retries']:,} retries"
    )


def _merged(merge: Mapping[str, Any], sources: Mapping[str, int]) -> list[str]:
    if not merge:
        return []
    origin = ", ".join(f"{count:,} from {name}" for name, count in sorted(sources.items()))
    text = f"{merge['added']:,} added; {merge['overlap']:,} staged by both, {merge['conflicts']:,} in conflict, "
    text += "settled by recomputing the id"
    return [_line("merged", text), _line("", f"the map now: {origin}")]


def _rest(report: Report) -> str:
    lied = report.unmapped - report.unknown
    return (
        f"{report.unmapped:,} tokens: {report.unknown:,} that no upstream knows, {lied:,} about which nobody who knows "
        "them told the truth"
    )


def _kept_out(refused: Mapping[str, Refusals]) -> list[str]:
    told: list[str] = []
    for track, each in refused.items():
        kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(each.letters.items())) or "none"
        told.append(
            _line(
                "" if told else "kept out",
                f"{track}: {each.false_caught:,} of {each.false_told:,} false answers found by proof, "
                f"{each.malformed_told:,} malformed; letters: {kinds}",
            )
        )
    return told


def _killed(report: Report) -> list[str]:
    told = [
        _line("" if at else "kill -9", f"{blow['victim']} (pid {blow['pid']}) with {blow['share']:.0%} asked")
        for at, blow in enumerate(report.kills)
    ]
    if missing := report.kills_wanted - len(report.kills):
        told.append(_line("" if told else "kill -9", f"{missing} did not happen: the run was through before"))
    return told


def _windows(upstreams: Mapping[str, Any]) -> list[str]:
    told: list[str] = []
    for name, figures in upstreams.items():
        fullest = ", ".join(f"{w['max_count']} of {w['requests']} in {w['seconds']:g} s" for w in figures["windows"])
        refused = f"{figures['throttled']:,} refused as too fast"
        text = f"{name}: {figures['requests']:,} requests, fullest windows {fullest}; {refused}"
        told.append(_line("" if told else "limits", text))
    return told


def _faults(upstreams: Mapping[str, Any]) -> str:
    total: Counter[str] = Counter()
    for figures in upstreams.values():
        total.update(figures["faults"])
    return ", ".join(f"{name} {count}" for name, count in sorted(total.items())) or "nothing"


def _gates(verify: Mapping[str, Any]) -> list[str]:
    word = {True: "pass", False: "FAIL", None: "n/a"}
    told = [
        _line("" if at else "gates", f"{word[check['passed']]:<4}  {check['name']}: {check['detail']}")
        for at, check in enumerate(verify.get("checks", ()))
    ]
    caught = Counter(bool(control["caught"]) for control in verify.get("controls", ()))
    return [*told, _line(CONTROLS, f"{caught[True]} of {caught.total()} caught")]


def _truth(found: Comparison | None) -> str:
    if found is None:
        return "not compared"
    word = "exactly the world's" if found.exact else "NOT the world's"
    return (
        f"{found.found:,} rows, {word}: {found.expected:,} expected, "
        f"{found.lost} lost, {found.wrong} wrong, {found.doubled} doubled"
    )


def _times(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
