"""The embedded warehouse as stock clients see it: curl, aiochclient and clickhouse-connect, all unchanged."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import clickhouse_connect
import pytest
from aiochclient import ChClient, ChClientError
from clickhouse_connect.driver.exceptions import DatabaseError

from backfill.warehouse.client import Warehouse
from backfill.warehouse.discovery import ServerInfo

HUGE = 2**256 - 1


@dataclass
class Reply:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def code(self) -> str | None:
        return self.headers.get("X-ClickHouse-Exception-Code")


class Wire:
    """Plain HTTP, as curl would speak it."""

    def __init__(self, info: ServerInfo) -> None:
        self.info = info
        self.basic = "Basic " + base64.b64encode(f"{info.user}:{info.password}".encode()).decode()

    def raw(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        link = http.client.HTTPConnection("127.0.0.1", self.info.port, timeout=30)
        try:
            link.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = link.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            link.close()

    def send(self, method: str, body: bytes | str | None = None, *, arguments: dict[str, Any], **headers: str) -> Reply:
        data = body.encode() if isinstance(body, str) else body
        path = "/?" + urlencode(arguments)
        status, raw, found = self.raw(method, path, data, **{"Authorization": self.basic, **headers})
        return Reply(status, raw.decode(), found)

    def post(self, body: bytes | str = b"", **arguments: Any) -> Reply:
        return self.send("POST", body, arguments=arguments)

    def get(self, **arguments: Any) -> Reply:
        return self.send("GET", arguments=arguments)


@pytest.fixture
def wire(server: ServerInfo, warehouse: Warehouse) -> Wire:
    return Wire(server)


@pytest.fixture
def connect(server: ServerInfo, warehouse: Warehouse) -> Iterator[Any]:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, username=server.user, password=server.password
    )
    yield client
    client.close()


def test_ping_and_root_answer_without_credentials(wire: Wire) -> None:
    for path in ("/ping", "/replicas_status"):
        assert wire.raw("GET", path)[:2] == (200, b"Ok.\n")
    assert wire.raw("GET", "/", Authorization=wire.basic)[:2] == (200, b"Ok.\n")


def test_nobody_gets_in_without_the_secret(wire: Wire) -> None:
    nothing = wire.raw("POST", "/", b"SELECT 1")
    assert (nothing[0], nothing[2]["X-ClickHouse-Exception-Code"]) == (401, "194")
    assert "WWW-Authenticate" in nothing[2]
    wrong = wire.raw("POST", "/", b"SELECT 1", X_ClickHouse_User="default", X_ClickHouse_Key="guess")
    assert (wrong[0], wrong[2]["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert b"AUTHENTICATION_FAILED" in wrong[1]


def test_the_secret_is_taken_from_basic_auth_headers_and_address(wire: Wire) -> None:
    info = wire.info
    assert wire.post("SELECT 1").text == "1\n"
    by_header = wire.raw("POST", "/", b"SELECT 1", X_ClickHouse_User=info.user, X_ClickHouse_Key=info.password)
    by_address = wire.raw("POST", f"/?user={info.user}&password={info.password}", b"SELECT 1")
    assert by_header[1] == by_address[1] == b"1\n"


def test_an_answer_says_what_it_is(wire: Wire) -> None:
    reply = wire.post("SELECT 1 AS x FORMAT JSON", query_id="mine")
    assert json.loads(reply.text)["data"] == [{"x": 1}]
    assert reply.headers["X-ClickHouse-Format"] == "JSON"
    assert reply.headers["X-ClickHouse-Query-Id"] == "mine"
    assert reply.headers["X-ClickHouse-Timezone"] == "UTC"
    assert wire.post("SELECT 1 AS x", default_format="JSONEachRow").text == '{"x":1}\n'
    assert wire.send("POST", "SELECT 1 AS x", arguments={}, X_ClickHouse_Format="CSV").text == "1\n"


def test_a_query_may_be_half_in_the_address_and_half_in_the_body(wire: Wire) -> None:
    assert wire.post("+ 41", query="SELECT 1").text == "42\n"


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM no_such_table", 404, "60", "UNKNOWN_TABLE"),
        ("SELECT * FROM no_such_db.t", 404, "81", "UNKNOWN_DATABASE"),
        ("SELEC 1", 400, "62", "SYNTAX_ERROR"),
        ("SELECT no_such_column", 404, "47", "UNKNOWN_IDENTIFIER"),
        ("SELECT toUInt8('x')", 400, "6", "CANNOT_PARSE_TEXT"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("INSERT INTO no_such_table FORMAT JSONEachRow {}", 404, "60", "UNKNOWN_TABLE"),
        ('INSERT INTO FUNCTION null(\'a UInt8\') FORMAT JSONEachRow {"a":"x"}', 400, "27", "CANNOT_PARSE_INPUT"),
    ],
)
def test_an_error_has_clickhouse_s_code_text_and_status(
    wire: Wire, sql: str, status: int, code: str, name: str
) -> None:
    reply = wire.post(sql)
    assert (reply.status, reply.code) == (status, code)
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert name in reply.text and "(version " in reply.text


def test_get_reads_but_does_not_write(wire: Wire) -> None:
    assert wire.get(query="SELECT 1").text == "1\n"
    for sql in (
        "CREATE TABLE staging.t (a Int8) ENGINE = Memory",
        "INSERT INTO staging.t VALUES (1)",
        "DROP DATABASE staging",
    ):
        assert wire.get(query=sql).code == "164", sql
        assert wire.get(query=sql, session_id="reader").code == "164", sql
    assert wire.get(query="SELECT getSetting('max_threads')", max_threads=1).text == "1\n"


def test_a_setting_in_the_address_ends_with_its_query(wire: Wire) -> None:
    ask = "SELECT getSetting('max_block_size')"
    usual = wire.post(ask).text
    assert wire.post(ask, max_block_size=123).text == "123\n"
    assert wire.post(ask).text == usual
    assert wire.post("SET max_block_size = 124").status == 200
    assert [wire.post(ask).text for _ in range(16)] == [usual] * 16, "SET without a session must not stay anywhere"


def test_a_session_keeps_what_it_sets_but_not_what_a_query_brought(wire: Wire) -> None:
    ask = "SELECT getSetting('max_block_size')"
    assert wire.post("SET max_block_size = 124", session_id="s").status == 200
    assert wire.post(ask, session_id="s", max_block_size=7).text == "7\n"
    assert wire.post(ask, session_id="s").text == "124\n"
    assert wire.post("CREATE TEMPORARY TABLE mine (a Int8)", session_id="s").status == 200
    assert wire.post("SELECT count() FROM mine", session_id="s").text == "0\n"
    assert wire.post("SELECT count() FROM mine").code == "60"
    assert wire.post("SELECT 1", session_id="never", session_check=1).code == "372"


def test_an_unknown_setting_is_refused(wire: Wire) -> None:
    for name in ("no_such_setting", "a b; DROP DATABASE staging"):
        reply = wire.post("SELECT 1", **{name: "1"})
        assert (reply.status, reply.code) == (404, "115")


def test_parameters_are_values_not_sql(wire: Wire) -> None:
    reply = wire.post(
        "SELECT {s:String}, {n:UInt256}, {a:Array(String)}", param_s="x' OR 1", param_n=HUGE, param_a="['p']"
    )
    assert reply.text == f"x\\' OR 1\t{HUGE}\t['p']\n"
    assert wire.post("SELECT {absent:UInt8}").code == "456"


def test_parameters_name_the_table_of_an_insert(wire: Wire) -> None:
    wire.post("CREATE TABLE staging.named (a Int8) ENGINE = MergeTree ORDER BY a")
    target = {"param_db": "staging", "query": "INSERT INTO {db:Identifier}.named FORMAT TSV"}
    assert wire.post("1\n2\n", **target).status == 200
    assert wire.post("SELECT sum(a) FROM staging.named").text == "3\n"


def test_a_database_in_the_address_is_the_current_one(wire: Wire) -> None:
    assert wire.post("SELECT currentDatabase()", database="staging").text == "staging\n"
    assert wire.post("SELECT currentDatabase()").text == "default\n"
    assert wire.post("SELECT 1", database="no_such_db").code == "81"


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd", "deflate"])
def test_packed_rows_are_unpacked(wire: Wire, encoding: str) -> None:
    import zlib

    import pyarrow as pa

    rows = b"".join(b"%d\n" % number for number in range(100_000))
    own = {"gzip": gzip.compress(rows), "deflate": zlib.compress(rows)}
    body = own.get(encoding) or _pack_frame(pa, encoding, rows)
    wire.post("CREATE TABLE staging.packed (a UInt64) ENGINE = MergeTree ORDER BY a")
    reply = wire.send(
        "POST", body, arguments={"query": "INSERT INTO staging.packed FORMAT TSV"}, Content_Encoding=encoding
    )
    assert reply.status == 200, reply.text
    assert json.loads(reply.headers["X-ClickHouse-Summary"])["written_rows"] == "100000"
    assert wire.post("SELECT count(), sum(a) FROM staging.packed").text == "100000\t4999950000\n"


def _pack_frame(pa: Any, encoding: str, rows: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, encoding) as packed:
        packed.write(rows)
    return bytes(sink.getvalue())


def test_an_unknown_packing_is_refused(wire: Wire) -> None:
    reply = wire.send("POST", b"x", arguments={"query": "INSERT INTO t FORMAT TSV"}, Content_Encoding="snappy")
    assert reply.code == "89"


def test_an_answer_is_packed_for_those_who_ask(wire: Wire) -> None:
    path = "/?" + urlencode({"query": "SELECT number FROM numbers(100000)"})
    status, body, headers = wire.raw("GET", path, Authorization=wire.basic, Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body).count(b"\n") == 100_000
    plain = wire.raw("GET", path + "&enable_http_compression=0", Authorization=wire.basic, Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain[2]


def test_rows_that_cannot_be_read_leave_nothing_behind(wire: Wire) -> None:
    wire.post("CREATE TABLE staging.strict (a UInt64) ENGINE = MergeTree ORDER BY a")
    good = b"".join(b"%d\n" % number for number in range(50_000))
    assert wire.post(good + b"not a number\n", query="INSERT INTO staging.strict FORMAT TSV").status == 400
    assert wire.post("SELECT count() FROM staging.strict").text == "0\n"


def test_a_client_that_dies_while_sending_changes_nothing(wire: Wire) -> None:
    wire.post("CREATE TABLE staging.half (a UInt64) ENGINE = MergeTree ORDER BY a")
    link = http.client.HTTPConnection("127.0.0.1", wire.info.port)
    link.putrequest("POST", "/?" + urlencode({"query": "INSERT INTO staging.half FORMAT TSV"}))
    link.putheader("Authorization", wire.basic)
    link.putheader("Content-Length", "1000")
    link.endheaders(b"1\n2\n3\n")
    link.close()
    assert wire.post("SELECT count() FROM staging.half").text == "0\n"


def test_a_client_that_leaves_in_the_middle_of_an_answer_does_no_harm(wire: Wire) -> None:
    for _ in range(12):
        link = http.client.HTTPConnection("127.0.0.1", wire.info.port)
        link.request("POST", "/", b"SELECT number FROM system.numbers", {"Authorization": wire.basic})
        assert link.getresponse().read(100)
        link.close()
    assert wire.post("SELECT 1").text == "1\n", "twelve who left must not hold the eight workers"


def test_an_error_after_the_answer_began_cuts_the_answer(wire: Wire) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as caught:
        wire.post("SELECT throwIf(number = 3000000) FROM numbers(10000000)")
    assert isinstance(caught.value, http.client.IncompleteRead)
    assert b"__exception__" in caught.value.partial[-4096:]


async def test_aiochclient_works_unchanged(server: ServerInfo, warehouse: Warehouse) -> None:
    async with aiohttp.ClientSession() as session:
        client = ChClient(session, url=server.url, user=server.user, password=server.password, database="staging")
        assert await client.is_alive()
        await client.execute("CREATE TABLE a (id UInt256, s Nullable(String)) ENGINE = MergeTree ORDER BY id")
        await client.execute("INSERT INTO a VALUES", (1, "it's"), (2, None))
        await client.insert_file("INSERT INTO a FORMAT JSONEachRow", json.dumps({"id": str(HUGE), "s": "x"}).encode())
        assert [tuple(row.values()) for row in await client.fetch("SELECT * FROM a ORDER BY id")] == [
            (1, "it's"),
            (2, None),
            (HUGE, "x"),
        ]
        assert await client.fetch("SELECT * FROM a WHERE id = 77") == []
        assert sum([1 async for _ in client.iterate("SELECT number FROM numbers(200000)")]) == 200_000
        with pytest.raises(ChClientError, match=r"Code: 60\..*UNKNOWN_TABLE"):
            await client.fetch("SELECT * FROM no_such_table")


def test_clickhouse_connect_works_unchanged(connect: Any) -> None:
    connect.command(
        "CREATE TABLE staging.c (id UInt256, s Nullable(String), a Array(UInt64)) ENGINE = MergeTree ORDER BY id"
    )
    done = connect.insert("staging.c", [[HUGE, None, [1, 2]], [5, "x", []]], column_names=["id", "s", "a"])
    assert int(done.written_rows) == 2
    found = connect.query("SELECT * FROM staging.c WHERE id > {low:UInt64} ORDER BY id", parameters={"low": 4})
    assert found.result_rows == [(5, "x", []), (HUGE, None, [1, 2])]
    empty = connect.query("SELECT id, s FROM staging.c WHERE id = 6")
    assert empty.result_rows == []
    assert connect.command("SELECT count() FROM staging.c") == 2


def test_clickhouse_connect_sees_codes_and_settings(connect: Any) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as caught:
        connect.query("SELECT * FROM no_such_table")
    assert caught.value.code == 60
    assert connect.query("SELECT getSetting('max_threads')", settings={"max_threads": 1}).result_rows == [(1,)]


def test_clickhouse_connect_with_a_wrong_password_is_told_so(server: ServerInfo) -> None:
    with pytest.raises(DatabaseError) as caught:
        clickhouse_connect.get_client(host="127.0.0.1", port=server.port, username=server.user, password="guess")
    assert caught.value.code == 516
