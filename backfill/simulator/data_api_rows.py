"""Events as rows of the pretend Data API, with the field names of its second version."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from .data_api_index import STEP, Combo, Event, actor_of, place_of
from .gamma_facts import ICON, Facts
from .ledger import Conversion, Order, Redemption, Split
from .world import World

MICRO = 1_000_000
UNLABELLED = 999
"""Outcome index of a row whose label is not known yet."""
UNLABELLED_EVERY = 29
COMBO_MODULE = 3
Row = dict[str, Any]
_ADJECTIVES = ("Scary", "Ultimate", "Gracious", "Limping", "Supportive", "Far-Flung", "Stiff")
_NOUNS = ("Barrel", "Underpass", "Fame", "Semicolon", "Basket", "Cayenne", "Benefit", "Fringe")
_NOTHING: Row = {"title": "", "slug": "", "icon": "", "event_slug": "", "outcome": "", "outcome_index": UNLABELLED}


class Rows:
    """Renders events. What is said of a token or a wallet is put together once."""

    def __init__(self, world: World, facts: Facts) -> None:
        self._world = world
        self._facts = facts
        self._tokens: dict[int, Row] = {}
        self._wallets: dict[str, Row] = {}
        self._encoded_tokens: dict[tuple[int, bool], tuple[str, str]] = {}
        self._encoded_wallets: dict[str, str] = {}

    def trade(self, event: Event) -> Row:
        """A row of the trade feed, in the order of fields that was seen."""
        if isinstance(event, Combo):
            return self._combo(event)
        assert isinstance(event, Order), "the trade feed holds trades"
        return {
            "proxy_wallet": event.maker,
            "side": event.side,
            **self._traded(event),
            "timestamp": event.at.timestamp,
            **self._text(event),
            **self.profile(event.maker),
            "transaction_hash": event.at.tx_hash,
        }

    def trade_line(self, event: Event) -> bytes:
        """The row of `trade` as JSON. Pages of a thousand are common, so what repeats is encoded once."""
        if not isinstance(event, Order):
            return orjson.dumps(self.trade(event))
        at, sequence = place_of(event)
        labelled = bool(sequence // STEP % UNLABELLED_EVERY)
        ids, text = self._encoded_token(event, labelled)
        return (
            f'{{"proxy_wallet":"{event.maker}","side":"{event.side}",{ids},"size":{event.shares / MICRO!r},'
            f'"price":{event.usdc / event.shares!r},"timestamp":{at},{text},{self._encoded_profile(event.maker)},'
            f'"transaction_hash":"{event.at.tx_hash}"}}'
        ).encode()

    def _encoded_token(self, order: Order, labelled: bool) -> tuple[str, str]:
        key = (order.token, labelled)
        if (known := self._encoded_tokens.get(key)) is None:
            ids = {"token_id": str(order.token), "condition_id": self.condition_of(order)}
            known = self._encoded_tokens[key] = (_inner(ids), _inner(self._text(order)))
        return known

    def _encoded_profile(self, wallet: str) -> str:
        if (known := self._encoded_wallets.get(wallet)) is None:
            known = self._encoded_wallets[wallet] = _inner(self.profile(wallet))
        return known

    def activity(self, event: Event) -> Row:
        """A row of the activity feed."""
        match event:
            case Order() | Combo():
                row = self.trade(event)
                order = event.beside if isinstance(event, Combo) else event
                return {**row, "type": "TRADE", "usdc_size": paid(order) / MICRO}
            case Split():
                kind = "MERGE" if event.merge else "SPLIT"
                return self._other(event, kind, event.condition, event.amount, event.amount)
            case Redemption():
                return self._other(event, "REDEEM", event.condition, event.payout, event.payout)
            case Conversion():
                released = event.amount * (event.index_set.bit_count() - 1)
                market = event.market_id.removeprefix("0x")
                return self._other(event, "CONVERSION", market, event.amount, released)

    def profile(self, wallet: str) -> Row:
        """What is told of a wallet's owner in every row."""
        if (known := self._wallets.get(wallet)) is None:
            pair = self._facts.pairs.get(wallet)
            known = self._wallets[wallet] = {
                "name": (pair.name or "") if pair else "",
                "pseudonym": pseudonym(wallet),
                "bio": "",
                "profile_image": "",
                "profile_image_optimized": "",
            }
        return known

    def token(self, token: int) -> Row:
        """What is told of a token: texts, and the index of its outcome."""
        if (known := self._tokens.get(token)) is None:
            known = self._tokens[token] = self._describe(token)
        return known

    def condition_of(self, event: Event) -> str:
        """Condition id of an event as its row tells it, with 0x."""
        match event:
            case Order():
                return f"0x{self._world.truth[event.token].condition}"
            case Combo():
                return f"0x{combo_condition(event)}"
            case Conversion():
                return event.market_id
            case _:
                return f"0x{event.condition}"

    def _describe(self, token: int) -> Row:
        truth = self._world.truth[token]
        market = self._facts.market(truth.condition)
        return {
            "title": market.title if market else "",
            "slug": truth.slug or "",
            "icon": ICON if market else "",
            "event_slug": (market.event_slug or "") if market else "",
            "outcome": truth.label or "",
            "outcome_index": truth.outcome_index,
        }

    def _traded(self, order: Order) -> Row:
        return {
            "token_id": str(order.token),
            "condition_id": self.condition_of(order),
            "size": order.shares / MICRO,
            "price": order.usdc / order.shares,
        }

    def _text(self, order: Order) -> Row:
        text = self.token(order.token)
        if place_of(order)[1] // STEP % UNLABELLED_EVERY:
            return text
        return {**text, "outcome_index": UNLABELLED, "event_slug": ""}

    def _other(self, event: Event, kind: str, condition: str, amount: int, usdc: int) -> Row:
        """A row without a token: neither side nor price, and an outcome index that says so."""
        market = self._facts.market(condition)
        texts = self.token(market.tokens[0]) if market else _NOTHING
        return {
            "proxy_wallet": actor_of(event),
            "timestamp": event.at.timestamp,
            "condition_id": f"0x{condition}",
            "type": kind,
            "size": amount / MICRO,
            "usdc_size": usdc / MICRO,
            "transaction_hash": event.at.tx_hash,
            "price": 0,
            "token_id": "",
            "side": "",
            **texts,
            "outcome": "",
            "outcome_index": UNLABELLED,
            **self.profile(actor_of(event)),
        }

    def _combo(self, combo: Combo) -> Row:
        """A bundle's trade: its condition has 62 hex digits, its token is one of the newer kind."""
        condition = combo_condition(combo)
        return {
            **self.trade(combo.beside),
            **_NOTHING,
            "condition_id": f"0x{condition}",
            "token_id": str(int(condition + "00", 16)),
            "title": f"{self.token(combo.beside.token)['title']} AND another",
            "outcome_index": 0,
        }


def _inner(row: Row) -> str:
    """A row's fields as JSON, without the braces."""
    return orjson.dumps(row).decode()[1:-1]


def combo_condition(combo: Combo) -> str:
    """Condition id of a bundle: module, half a hash, zeros; 62 digits without 0x."""
    base = hashlib.sha256(combo.beside.order_hash.encode()).digest()[:16]
    return (bytes([COMBO_MODULE]) + base + bytes(14)).hex()


def paid(order: Order) -> int:
    """Money that moved for a trade, its fee included: a buyer pays it on top, a seller receives less.

    Until the second version of the exchange a buyer's fee was taken in shares, so it is not part of the money.
    """
    if order.side == "SELL":
        return order.usdc - order.fee
    return order.usdc + order.fee if order.version == 2 else order.usdc


def pseudonym(wallet: str) -> str:
    """The name that is given to a wallet that has none."""
    number = int(wallet[-8:], 16)
    return f"{_ADJECTIVES[number % len(_ADJECTIVES)]}-{_NOUNS[number // 7 % len(_NOUNS)]}"
