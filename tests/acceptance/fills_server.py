"""A server that does nothing but hand out prepared pages of fills: the upstream of the bench of fills.

It must cost as little as an upstream can, so that what is measured is our side. A unit asks for one token; its answer
has `rows` fills, half of them on each side, the same for every token but for the token itself. Run as
`python -m tests.acceptance.fills_server ROWS LATENCY_MS`; prints its port, then serves until its input closes.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys

import orjson
from aiohttp import web

ALIAS = re.compile(rb"([mt]_[0-9a-f]{8}):orderFilledEvents")
FIRST_ID = re.compile(rb'"ids":\["(\d+)"')
TOKEN_MARK = b"77777777777777777777"
START = 1_700_000_000
BASE = 10**75


def token(unit: int) -> str:
    """The token of a unit."""
    return str(BASE + unit)


def side(rows: int, *, buys: bool, dice: random.Random) -> bytes:
    """One list of an answer, in the order of ids, with marks where the token comes in."""

    def digits(count: int) -> str:
        return f"{dice.getrandbits(4 * count):0{count}x}"

    found = []
    for _ in range(rows):
        shares = dice.randrange(1, 500_000) * 10_000
        money = shares * dice.randrange(1, 99) // 100
        gives, takes = (money, shares) if buys else (shares, money)
        assets = ("0", TOKEN_MARK.decode()) if buys else (TOKEN_MARK.decode(), "0")
        row = {
            "id": f"0x{digits(64)}_0x{digits(64)}",
            "timestamp": str(START + dice.randrange(10**7)),
            "maker": f"0x{digits(40)}",
            "taker": f"0x{digits(40)}",
            "makerAssetId": assets[0],
            "takerAssetId": assets[1],
            "makerAmountFilled": str(gives),
            "takerAmountFilled": str(takes),
            "fee": "0",
        }
        found.append(row)
    found.sort(key=lambda row: row["id"])
    return orjson.dumps(found)


def answer_to(body: bytes, sides: tuple[bytes, bytes]) -> bytes:
    """The answer to a question for one token."""
    match = FIRST_ID.search(body)
    assert match is not None
    given, taken = ALIAS.findall(body)
    lists = b'{"data":{"%b":%b,"%b":%b}}' % (given, sides[0], taken, sides[1])
    return lists.replace(TOKEN_MARK, match[1])


async def serve(rows: int, latency_s: float) -> None:
    """Serve the same rows for every token, with other hashes."""
    dice = random.Random(7)
    sides = (side(rows // 2, buys=False, dice=dice), side(rows - rows // 2, buys=True, dice=dice))

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if latency_s:
            await asyncio.sleep(latency_s)
        return web.Response(body=answer_to(body, sides), content_type="application/json")

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
