"""`/v2/resolutions` and `/v2/status` of the pretend Data API: how conditions ended, and how far the data reaches."""

from __future__ import annotations

import re
from functools import cached_property

from .data_api_query import Query, Refused, Row, answer
from .gamma_facts import Facts, iso
from .ledger import Resolution
from .model import Market
from .reply import Reply, Wish

UNSET = "69"
"""A price that nobody has proposed yet."""
ONE = 10**18
MICRO = 1_000_000
REPORT_AFTER = 7_200
"""Seconds from a proposal to its end, where nobody disputes it."""
_QUESTION = re.compile(r"0x[0-9a-fA-F]{64}")


class Resolutions:
    """Rows of three kinds: settled with few fields, settled with the oracle's, and pending."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def page(self, query: Query, wish: Wish) -> Reply:
        """Answer by conditions, by a question or by events; exactly one of them."""
        asked = [name for name in ("question_id", "condition", "event_id") if query.text(name) is not None]
        if len(asked) != 1:
            raise Refused("provide exactly one of 'question_id', 'condition', or 'event_id'")
        if asked == ["condition"]:
            conditions = query.conditions() or []
            if short := [each for each in conditions if len(each) != 64]:
                raise Refused(f"invalid condition id: 0x{short[0]}", parameter="condition")
        elif asked == ["question_id"]:
            conditions = self._of_question(query.text("question_id") or "")
        else:
            numbers = query.event_ids() or []
            groups = [group for group in self._facts.groups.values() if group.number in numbers]
            conditions = [self._facts.listing[place].condition for group in groups for place in group.places]
        rows = [row for each in conditions if (row := self._row(each, wish.before)) is not None]
        return answer({"data": rows}, wish.fault is None)

    def _of_question(self, text: str) -> list[str]:
        if not _QUESTION.fullmatch(text):
            raise Refused(f"invalid question_id: {text}", parameter="question_id")
        return self._conditions_by_question.get(text.lower(), [])

    @cached_property
    def _conditions_by_question(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for market in self._facts.listing:
            if question := self._facts.question(market):
                found.setdefault(question, []).append(market.condition)
        return found

    def _row(self, condition: str, before: int | None) -> Row | None:
        """None for a condition that nobody has asked the oracle about yet."""
        ending = self._facts.ending(condition, before)
        if ending is not None:
            return self._settled(ending)
        market = self._facts.market(condition)
        if market is None or not self._facts.closed(market, before):
            return None
        return self._pending(market, self._facts.now(before))

    def _settled(self, ending: Resolution) -> Row:
        at, total = ending.at, sum(ending.numerators)
        row: Row = {
            "condition_id": f"0x{ending.condition}",
            "status": "resolved",
            "extended_review": False,
            "was_disputed": False,
            "new_version_q": False,
            "transaction_hash": "",
            "log_index": "",
            "last_update_timestamp": iso(at.timestamp),
            "payouts": [each * MICRO // total for each in ending.numerators],
            "resolution_source": "reported",
            "was_arbitrated": False,
            "resolved_block": at.block,
            "resolved_at": iso(at.timestamp),
        }
        if int(ending.condition[:2], 16) % 2:
            return row
        price = str(ending.numerators[0] * ONE // total)
        market = self._facts.market(ending.condition)
        return row | {
            "question_id": f"0x{ending.question_id.removeprefix('0x')}",
            "transaction_hash": at.tx_hash,
            "log_index": str(at.log_index),
            "last_update_timestamp": str(at.timestamp),
            "proposed_price": price,
            "reproposed_price": UNSET,
            "price": price,
            "resolution_source": "derived" if market is not None and market.neg_risk else "reported",
            "market_type": "INCREMENTAL_NEGRISK" if market is not None and market.neg_risk else "BINARY",
            "reporter": "UMA_OO",
        }

    def _pending(self, market: Market, now: int) -> Row:
        """A proposal, or a dispute about one; after two hours the estimate of its end is gone."""
        proposed = market.closed_at or 0
        disputed = int(market.condition[:2], 16) % 4 == 0
        row: Row = {
            "condition_id": f"0x{market.condition}",
            "status": "disputed" if disputed else "proposed",
            "extended_review": False,
            "was_disputed": disputed,
            "new_version_q": True,
            "proposed_price": str(ONE),
            "reproposed_price": str(ONE // 2) if disputed else UNSET,
            "price": UNSET,
            "transaction_hash": f"0x{market.condition[::-1]}",
            "log_index": str(int(market.condition[-2:], 16)),
            "last_update_timestamp": str(proposed),
        }
        if question := self._facts.question(market):
            row["question_id"] = question
        if proposed + REPORT_AFTER > now:
            row["expected_settlement_time"] = iso(proposed + REPORT_AFTER)
            row["settlement_time_basis"] = "dvm_round_estimate" if disputed else "managed_proposal_expiration"
        return row


def status(facts: Facts, before: int | None) -> Reply:
    """How far the data reaches: `max_synced_block` is the block that everything is complete to."""
    block, now = facts.head(before), facts.now(before)
    behind = {"source": "auto_redeem_binary_redemption", "block": max(0, block - 1), "behind_max": 1}
    mechanisms = [
        {"name": "activity_feed", "age_seconds": 4},
        {"name": "custody_balances", "age_seconds": 0, "blocks_behind": 833},
        {"name": "pnl", "age_seconds": 1, "blocks_behind": 1},
    ]
    data = {
        "computed_at": iso(now),
        "age_seconds": 0,
        "serving": {"lag_seconds": 4, "worst": "activity_feed", "mechanisms": mechanisms},
        "ingestion": {
            "cursors": 148,
            "network": "polygon",
            "chain_id": 137,
            "max_synced_block": block,
            "min_synced_block": max(0, block - 1),
            "most_lagged": behind,
            "lagging": [behind],
        },
    }
    return answer({"data": data})
