"""Markets, events and profiles as the pretend Gamma shows them, quirks of old rows included."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from .data_api_rows import pseudonym
from .gamma_facts import FIRST_MARKET, ICON, Facts, Group, day, iso
from .ledger import WalletPair
from .model import Market

Row = dict[str, Any]
OLD = 1_685_577_600
"""2023-06-01, in unix seconds: markets that began before are the old ones here, with the quirks of 2022's."""
FEES_SINCE = 1_746_057_600
"""2025-05-01, in unix seconds: markets that began later may charge their takers."""
TOKENLESS_EVERY, STILL_PROPOSED_EVERY, ZERO_PRICED_EVERY, DISPUTED_EVERY = 211, 5, 7, 3
"""Every so many places the token ids are missing; of the old ones still call themselves proposed, or have no prices; of
those that wait for their outcome are disputed."""
RATES = {"Crypto": 0.07, "Sports": 0.05, "Politics": 0.04}
ADAPTER = "0x2F5e3684cb1F318ec51b00Edba38d79Ac2c0aA9d"
"""What neg-risk markets name as their resolver; it is not the oracle in their condition id."""
BINARY_MODULE = 1


class Rows:
    """Renders what the facts hold, as of a time."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def market(self, place: int, before: int | None, *, nested: bool = False) -> Row:
        """A market; `nested` in an event it does not name the event again."""
        market, facts = self._facts.listing[place], self._facts
        row = {
            "id": str(FIRST_MARKET + place),
            "question": market.title,
            "conditionId": f"0x{market.condition}",
            "slug": market.slug,
            "resolutionSource": "",
            "startDate": iso(market.start),
            "startDateIso": day(market.start),
            "image": ICON,
            "icon": ICON,
            "description": f"What becomes of: {market.title}",
            "outcomes": json.dumps(market.labels, ensure_ascii=False),
            "outcomePrices": self._prices(place, before),
            **_volumes(market),
            "active": True,
            "closed": facts.closed(market, before),
            "archived": False,
            "restricted": True,
            "marketMakerAddress": "",
            "createdAt": iso(market.start),
            "updatedAt": iso(facts.now(before) - 1),
            "enableOrderBook": True,
            "orderPriceMinTickSize": 0.01,
            "orderMinSize": 5,
            "acceptingOrders": not facts.closed(market, before),
            "hasReviewedDates": True,
            "negRiskOther": False,
            "positionIds": position_ids(market),
            "version": "v1",
            **_fees(market),
        }
        if not nested and (group := facts.groups.get(market.event_slug or "")) is not None:
            row["events"] = [self._event_head(group, before)]
        return row | self._dates(market, before) | self._ids(place) | self._oracle(place, before)

    def event(self, group: Group, before: int | None, *, with_markets: bool = True) -> Row:
        """An event, with its markets unless they are not wanted."""
        row = self._event_head(group, before)
        if with_markets:
            known = self._facts.listed(before)
            row["markets"] = [self.market(place, before, nested=True) for place in group.places if place < known]
        return row

    def event_closed(self, group: Group, before: int | None) -> bool:
        """Whether all markets of an event are closed."""
        return all(self._facts.closed(self._facts.listing[place], before) for place in group.places)

    def profile(self, pair: WalletPair) -> Row:
        """A public profile: by either address the wallet that trades."""
        number = str(int(pair.wallet[-6:], 16))
        return {
            "$schema": "https://gamma-api.polymarket.com/schemas/PublicProfileResponse.json",
            "createdAt": "2025-10-13T19:31:36.489292Z",
            "proxyWallet": pair.wallet,
            "profileImage": "",
            "displayUsernamePublic": pair.name is not None,
            "bio": "",
            "pseudonym": pseudonym(pair.wallet),
            "name": pair.name or "",
            "users": [{"id": number, "creator": False, "mod": False, "communityMod": False}],
            "xUsername": "",
            "verifiedBadge": False,
            "takerTier": 1,
            "takerTierName": "Bronze",
            "weightedVolume": 0.0,
        }

    def _event_head(self, group: Group, before: int | None) -> Row:
        first = self._facts.listing[group.places[0]]
        volume = sum(self._facts.listing[place].volume for place in group.places)
        row = {
            "id": str(group.number),
            "ticker": group.slug,
            "slug": group.slug,
            "title": first.title,
            "description": f"What becomes of: {first.title}",
            "resolutionSource": "",
            "startDate": iso(first.start),
            "creationDate": iso(first.start),
            "image": ICON,
            "icon": ICON,
            "active": True,
            "closed": self.event_closed(group, before),
            "archived": False,
            "restricted": True,
            "volume": volume,
            "openInterest": 0,
            "createdAt": iso(first.start),
            "enableOrderBook": True,
            "negRisk": bool(first.neg_risk),
            "enableNegRisk": bool(first.neg_risk),
            "negRiskAugmented": False,
            "tags": _tags(first),
        }
        if first.end is not None:
            row["endDate"] = iso(first.end)
        if (event_id := self._neg_risk_id(first)) is not None:
            row["negRiskMarketID"] = event_id
        return row

    def _prices(self, place: int, before: int | None) -> str:
        market = self._facts.listing[place]
        prices: tuple[float, ...] = self._facts.prices(market.condition, market.tokens, before)
        if is_old(market) and self._facts.closed(market, before) and place % ZERO_PRICED_EVERY == 0:
            prices = tuple(0.0 for _ in prices)
        return json.dumps([f"{price:g}" for price in prices])

    def _dates(self, market: Market, before: int | None) -> Row:
        row: Row = {}
        if market.end is not None:
            row |= {"endDate": iso(market.end), "endDateIso": day(market.end)}
        if market.closed_at is not None and self._facts.closed(market, before):
            row["closedTime"] = spaced(market.closed_at)
        if market.game_start is not None:
            row["gameStartTime"] = spaced(market.game_start)
        return row

    def _ids(self, place: int) -> Row:
        """Ids that may be missing: of tokens now and then, of the question where nobody has it."""
        market = self._facts.listing[place]
        row: Row = {}
        if has_tokens(place):
            row["clobTokenIds"] = json.dumps([str(token) for token in market.tokens])
        if question := self._facts.question(market):
            row["questionID"] = question
        if market.neg_risk or not is_old(market):
            row["negRisk"] = bool(market.neg_risk)
        if (event_id := self._neg_risk_id(market)) is not None:
            row |= {"negRiskMarketID": event_id, "negRiskRequestID": f"0x{market.condition[::-1]}"}
        return row

    def _neg_risk_id(self, market: Market) -> str | None:
        """The event's id on the chain: its questions' ids with the last byte cleared."""
        question = self._facts.question(market)
        return f"{question[:-2]}00" if market.neg_risk and question else None

    def _oracle(self, place: int, before: int | None) -> Row:
        """How far the oracle is; nothing is told of a market that is still open."""
        market = self._facts.listing[place]
        row: Row = {"umaResolutionStatuses": "[]"}
        if self._facts.closed(market, before):
            row["resolvedBy"] = ADAPTER if market.neg_risk else self._facts.oracle(market)
            row["umaResolutionStatuses"] = json.dumps(["proposed", "proposed"])
            if self._facts.ending(market.condition, before) is None:
                row["umaResolutionStatus"] = "disputed" if place % DISPUTED_EVERY == 0 else "proposed"
            else:
                stuck = is_old(market) and place % STILL_PROPOSED_EVERY == 0
                row["umaResolutionStatus"] = "proposed" if stuck else "resolved"
        return row


def has_tokens(place: int) -> bool:
    """Whether the market at this place of the listing is shown with its token ids."""
    return place % TOKENLESS_EVERY != TOKENLESS_EVERY // 2


def is_old(market: Market) -> bool:
    """Whether a market has the quirks of the early ones."""
    return market.start < OLD


def position_ids(market: Market) -> list[str]:
    """Ids of the newer protocol that mirror an ordinary market; they are not what is traded."""
    base = BINARY_MODULE << 248 | int(market.condition[32:], 16) << 120
    return [str(base | outcome) for outcome in range(len(market.tokens))]


def spaced(at: int) -> str:
    """A time as `2026-05-09 02:07:01+00`, which is not ISO 8601."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S+00")


def _volumes(market: Market) -> Row:
    return {
        "volume": str(market.volume),
        "volumeNum": market.volume,
        "volumeClob": market.volume,
        "volume1yr": market.volume,
        "liquidity": "0",
        "liquidityNum": 0,
    }


def _fees(market: Market) -> Row:
    """The base fees are not what is charged; the schedule is."""
    rate = next((RATES[tag] for tag in market.tags if tag in RATES), None)
    if market.start < FEES_SINCE or rate is None:
        return {"feesEnabled": False, "feeType": None}
    return {
        "makerBaseFee": 1000,
        "takerBaseFee": 1000,
        "feesEnabled": True,
        "feeType": f"{market.tags[0].lower()}_fees",
        "feeSchedule": {"exponent": 1, "rate": rate, "takerOnly": True, "rebateRate": 0.25},
    }


def _tags(market: Market) -> list[Row]:
    return [
        {"id": str(100 + number), "label": tag, "slug": "-".join(tag.lower().split())}
        for number, tag in enumerate(market.tags)
    ]
