"""A server that does nothing but hand out prepared Goldsky pages: the upstream of the engine's benchmark.

It must cost as little as an upstream can, so that what is measured is our side. Run as
`python -m tests.acceptance.page_server UNITS ROWS`; prints its port, then serves until its input closes.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

import orjson
from aiohttp import web

MARK = b'"ids":["'


def tokens_of(unit: int, rows: int) -> list[int]:
    """The ids of a unit: ascending, 76 digits, different for each unit."""
    seed = int.from_bytes(hashlib.sha256(b"bench %d" % unit).digest()[:16])
    return [10**75 * (1 + unit % 9) + unit * 10**40 + at * 10**20 + seed % 10**18 for at in range(rows)]


def page(unit: int, rows: int) -> bytes:
    """The answer for a unit."""
    condition = "0x" + hashlib.sha256(b"condition %d" % unit).hexdigest()
    positions = [
        {"id": str(token), "condition": condition, "outcomeIndex": str(at % 2)}
        for at, token in enumerate(tokens_of(unit, rows))
    ]
    return orjson.dumps({"data": {"positions": positions}})


async def serve(units: int, rows: int) -> None:
    """Serve prepared pages by the first id that a request asks for."""
    pages = {str(tokens_of(unit, rows)[0]).encode(): page(unit, rows) for unit in range(units)}

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        start = body.index(MARK) + len(MARK)
        return web.Response(body=pages[body[start : body.index(b'"', start)]], content_type="application/json")

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
