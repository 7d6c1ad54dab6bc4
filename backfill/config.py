"""config.toml, .env and the environment become one frozen value; nothing else reads them.

Order of precedence: environment, then `.env` beside the config file, then config.toml, then the defaults here.
Every problem is collected, so that one message names them all.
"""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from backfill.config_words import sentence, with_password
from backfill.errors import ConfigError

PREFIX = "BACKFILL_"
SECRET_NAMES = (
    "DOME_API_KEY",
    "POLYMARKET_CLOB_ADDRESS",
    "POLYMARKET_CLOB_API_KEY",
    "POLYMARKET_CLOB_SECRET",
    "POLYMARKET_CLOB_PASSPHRASE",
)

Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z)?$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]


class Section(BaseModel):
    """A table of the file: frozen, and with no room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`workers = true` would otherwise be one worker."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("expected a value, not true or false")
        return value


class Limit(Section):
    """At most `requests` in any sliding window of `seconds`, as the upstream sees them arrive."""

    requests: Annotated[int, Field(ge=1)]
    seconds: Seconds


class Run(Section):
    """How a run behaves, and where it keeps its files."""

    checkpoint_dir: Path = Path("checkpoints")
    data_dir: Path = Path("data")
    log_file: Path = Path("logs/backfill.jsonl")
    progress_interval_s: Seconds = 30
    stall_after_s: Seconds = 60
    drain_s: Annotated[float, Field(ge=0)] = 30
    split: Literal["even", "balanced"] = "even"
    history_from: Moment = "2022-11-21"


class WarehouseConfig(Section):
    """Where the rows go. `url` is "embedded" or the HTTP address of a ClickHouse."""

    url: str = "embedded"
    user: str = "default"
    password: SecretStr = SecretStr("")
    production: Identifier = "polymarket"
    staging: Identifier = "staging"
    analytics: Identifier = "cascadian_clean"
    idle_exit_s: Annotated[float, Field(gt=0)] = 600

    @field_validator("url")
    @classmethod
    def _known_place(cls, value: str) -> str:
        if value != "embedded" and not value.startswith(("http://", "https://")):
            raise ValueError('expected "embedded" or an http(s):// address')
        return value.rstrip("/")


class Upstream(Section):
    """What every upstream has: an address, its limits, the patience with one answer, requests under way at once.

    Workers beyond `connections` store their pages meanwhile, so that none of the connections waits for the warehouse.
    """

    base_url: Url
    limits: tuple[Limit, ...] = ()
    timeout_s: Seconds = 30
    connections: Annotated[int, Field(ge=0)] = 0

    @field_validator("base_url")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "@" in value:
            raise ValueError("expected an address without user and password")
        return value.rstrip("/")


class Dome(Upstream):
    """Dome; `end_of_life` decides how a connection that was never accepted is read (see README)."""

    base_url: Url = "https://api.domeapi.io/v1"
    limits: tuple[Limit, ...] = (Limit(requests=10, seconds=1), Limit(requests=100, seconds=10))
    end_of_life: str = "2026-04-28"

    @field_validator("end_of_life", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value.isoformat()  # TOML has dates of its own
        try:
            return value and dt.date.fromisoformat(value).isoformat()
        except (TypeError, ValueError):
            raise ValueError('expected a day such as "2026-04-28", or ""') from None


class Subgraphs(Section):
    """Name and version of each subgraph below Goldsky's base address."""

    orderbook: str = "orderbook-subgraph/0.0.1"
    positions: str = "positions-subgraph/0.0.7"
    activity: str = "activity-subgraph/0.0.4"
    pnl: str = "pnl-subgraph/0.0.14"
    wallet: str = "wallet-subgraph/0.0.4"


class Goldsky(Upstream):
    """Goldsky's hosted subgraphs; after `complete_until` they may be current, but no longer complete."""

    complete_until: Moment = "2026-04-28T11:00:00Z"

    base_url: Url = "https://api.goldsky.com/api/public/project_cl6mb8i9h0003e201j6li0diw/subgraphs"
    limits: tuple[Limit, ...] = (Limit(requests=50, seconds=10),)
    subgraphs: Subgraphs = Subgraphs()


class Clob(Upstream):
    """Polymarket's order book API; `wallet` is the one whose trades the key may read, where it is not the key's own."""

    wallet: Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$")] = ""

    base_url: Url = "https://clob.polymarket.com"
    limits: tuple[Limit, ...] = (Limit(requests=500, seconds=10),)


class DataApi(Upstream):
    """Polymarket's Data API; version 1 was to be retired on 2026-10-24."""

    version: Literal[1, 2] = 2

    base_url: Url = "https://data-api.polymarket.com"
    limits: tuple[Limit, ...] = (Limit(requests=150, seconds=10),)


class Gamma(Upstream):
    """Polymarket's market catalogue."""

    base_url: Url = "https://gamma-api.polymarket.com"
    limits: tuple[Limit, ...] = (Limit(requests=150, seconds=10),)


class Polygon(Section):
    """A Polygon RPC node."""

    rpc_url: Url = "https://polygon-bor-rpc.publicnode.com"
    block_range: Annotated[int, Field(ge=1)] = 1000
    confirmations: Annotated[int, Field(ge=0)] = 20
    limits: tuple[Limit, ...] = (Limit(requests=50, seconds=10),)
    timeout_s: Seconds = 30
    connections: Annotated[int, Field(ge=0)] = 0


class Upstreams(Section):
    """One section for each upstream."""

    dome: Dome = Dome()
    goldsky: Goldsky = Goldsky()
    clob: Clob = Clob()
    data_api: DataApi = DataApi()
    gamma: Gamma = Gamma()
    polygon: Polygon = Polygon()


Workers = Annotated[int, Field(ge=1, le=1024)]


class TrackConfig(Section):
    """How many requests of a track are under way at once, and whether it runs without being asked for by name."""

    workers: Workers = 8
    enabled: bool = True


class DomeTokens(TrackConfig):
    """Token ids in one request; Dome takes 100."""

    workers: Workers = 16
    batch: Annotated[int, Field(ge=1, le=100)] = 100


class GoldskyTokens(TrackConfig):
    """Token ids in one request; Goldsky returns at most 1,000 rows."""

    workers: Workers = 32
    batch: Annotated[int, Field(ge=1, le=1000)] = 1000


class Local(TrackConfig):
    """Keys computed at once; nothing is asked."""

    workers: Workers = 2
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500


class Single(TrackConfig):
    """One key, or one stretch, in a request: the upstream takes no more."""

    batch: Annotated[int, Field(ge=1, le=1)] = 1


class Listing(TrackConfig):
    """Rows of a listing that one unit reads; a page holds fewer."""

    batch: Annotated[int, Field(ge=1)] = 10_000


class Windows(TrackConfig):
    """Hours of one unit."""

    hours: Annotated[int, Field(ge=1)] = 24


class Blocks(TrackConfig):
    """Blocks of one unit; how many one request asks for is the upstream's `block_range`."""

    batch: Annotated[int, Field(ge=1)] = 20_000


class GoldskyFills(TrackConfig):
    """Tokens in one request, and rows that one is packed to hold; Goldsky returns at most 1,000 for each side."""

    workers: Workers = 40
    batch: Annotated[int, Field(ge=1, le=1000)] = 500
    rows: Annotated[int, Field(ge=1)] = 900


class DataApiConditions(TrackConfig):
    """Conditions in one request, of which the Data API takes 20, and rows that one is packed to hold."""

    workers: Workers = 16
    batch: Annotated[int, Field(ge=1, le=20)] = 20
    rows: Annotated[int, Field(ge=1)] = 900


class GoldskyKeys(TrackConfig):
    """Keys in one request; Goldsky returns at most 1,000 rows."""

    batch: Annotated[int, Field(ge=1, le=1000)] = 1000


class DataApiKeys(TrackConfig):
    """Conditions in one request, of which the Data API takes 20."""

    batch: Annotated[int, Field(ge=1, le=20)] = 20


class GammaMarkets(Single):
    """Two listings, side by side."""

    workers: Workers = 2


class Asked(Single):
    """One key in a request, and only when it is asked for by name."""

    workers: Workers = 16
    enabled: bool = False


class AskedWindows(Windows):
    """Hours of one unit; only when it is asked for by name."""

    workers: Workers = 4
    enabled: bool = False


class LocalWallets(Local):
    """Addresses computed at once."""

    batch: Annotated[int, Field(ge=1, le=10_000)] = 2000


class AskedKeys(GoldskyKeys):
    """Keys in one request; only when it is asked for by name."""

    enabled: bool = False


class GoldskyWallets(GoldskyKeys):
    """Addresses in one request, each asked for twice, as wallet and as owner."""

    batch: Annotated[int, Field(ge=1, le=500)] = 500


class Wide(Single):
    """One key in a request, many requests at once."""

    workers: Workers = 16


class Transfers(Blocks):
    """Blocks of one unit; transfers are many."""

    batch: Annotated[int, Field(ge=1)] = 5_000


class Tracks(Section):
    """Every track by its name."""

    dome_tokens: DomeTokens = DomeTokens()
    goldsky_tokens: GoldskyTokens = GoldskyTokens()
    derive_tokens: Local = Local()
    gamma_markets: GammaMarkets = GammaMarkets()
    clob_markets: Listing = Listing()
    goldsky_fills: GoldskyFills = GoldskyFills()
    data_api_fills: DataApiConditions = DataApiConditions()
    chain_fills: Blocks = Blocks()
    dome_fills: Asked = Asked()
    clob_fills: AskedWindows = AskedWindows()
    goldsky_payouts: GoldskyKeys = GoldskyKeys()
    data_api_payouts: DataApiKeys = DataApiKeys()
    chain_payouts: Blocks = Blocks()
    goldsky_positions_payouts: AskedKeys = AskedKeys()
    derive_wallets: LocalWallets = LocalWallets()
    goldsky_wallets: GoldskyWallets = GoldskyWallets()
    gamma_wallets: Wide = Wide()
    dome_wallets: Asked = Asked()
    chain_transfers: Transfers = Transfers()
    data_api_positions: Wide = Wide()
    goldsky_activity: Windows = Windows()
    data_api_activity: Asked = Asked()
    chain_activity: Blocks = Blocks()


class Raw(Section):
    """Whether answers are kept as they came, and how much of them (compressed, in gigabytes)."""

    keep: bool = True
    max_gb: Annotated[float, Field(gt=0)] = 20


class Sync(Section):
    """How far `sync` and a run that goes on reach back behind what is covered already."""

    overlap_s: Annotated[int, Field(ge=0)] = 3600


class Quality(Section):
    """What `quality` refuses; shares between 0 and 1."""

    duplicates: Annotated[int, Field(ge=0)] = 0
    bad_rows: Annotated[int, Field(ge=0)] = 0
    equal_share: Share = 0.01
    unmapped_share: Share = 0.05
    side_share: tuple[Share, Share] = (0.2, 0.8)
    taker_share: tuple[Share, Share] = (0.0, 0.7)
    empty_months: Annotated[int, Field(ge=0)] = 0


class Gates(Section):
    """What a run must reach; shares between 0 and 1."""

    global_coverage: Share = 0.95
    wallet_coverage: Share = 0.95
    resolved_positions: Annotated[int, Field(ge=0)] = 50
    pnl_variance: Share = 0.02
    reconcile_variance: Share = 0.01


class Leaderboard(Section):
    """Who is ranked: fills and resolved markets of a wallet, and the share of its fills that is understood. Days of
    leaderboard_omega_daily stay for `keep_days`; 0: for ever."""

    min_trades: Annotated[int, Field(ge=0)] = 20
    min_markets: Annotated[int, Field(ge=0)] = 10
    min_coverage: Share = 0.95
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 30


class BaselineWallet(Section):
    """A wallet whose numbers are known from elsewhere; `expected_pnl_usd` in US dollars, `site_pnl_usd` what the site
    showed, which is compared, too, but decides nothing."""

    name: str
    address: Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
    expected_pnl_usd: float | None = None
    source: str | None = None
    tolerance: Share | None = None
    site_pnl_usd: float | None = None

    @field_validator("address")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()


class Secrets(Section):
    """Keys; they come from the environment or `.env` only."""

    dome_api_key: SecretStr | None = None
    polymarket_clob_address: SecretStr | None = None
    polymarket_clob_api_key: SecretStr | None = None
    polymarket_clob_secret: SecretStr | None = None
    polymarket_clob_passphrase: SecretStr | None = None

    def values(self) -> tuple[str, ...]:
        """The secrets that are set, for the log's redaction."""
        kept = (getattr(self, name) for name in type(self).model_fields)
        return tuple(secret.get_secret_value() for secret in kept if secret is not None)


class Config(Section):
    """Everything a command may want to know, with absolute paths."""

    run: Run = Run()
    warehouse: WarehouseConfig = WarehouseConfig()
    raw: Raw = Raw()
    sync: Sync = Sync()
    upstreams: Upstreams = Upstreams()
    tracks: Tracks = Tracks()
    quality: Quality = Quality()
    gates: Gates = Gates()
    leaderboard: Leaderboard = Leaderboard()
    baseline_wallets: tuple[BaselineWallet, ...] = ()

    @field_validator("baseline_wallets")
    @classmethod
    def _each_once(cls, value: tuple[BaselineWallet, ...]) -> tuple[BaselineWallet, ...]:
        addresses = [wallet.address for wallet in value]
        if twice := sorted({address for address in addresses if addresses.count(address) > 1}):
            raise ValueError(f"expected each address once, but {', '.join(twice)} is there more often")
        return value

    secrets: Secrets = Field(default=Secrets(), exclude=True)
    root: Path = Field(default=Path("."), exclude=True)

    def hidden(self) -> tuple[str, ...]:
        """Every text that must never be shown: the keys, and the warehouse's password."""
        return tuple(filter(None, (*self.secrets.values(), self.warehouse.password.get_secret_value())))


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read `path` (default `$BACKFILL_CONFIG`, then ./config.toml), overlay the environment, and check it all.

    Raises:
        ConfigError: the file is missing or broken, or any key or value is wrong; the text lists every problem.
    """
    outer = dict(os.environ if environ is None else environ)
    chosen = path or Path(outer.get("BACKFILL_CONFIG") or "config.toml")
    root = chosen.resolve().parent
    env = {**_dotenv(root / ".env"), **outer}
    tree = _read(chosen)
    problems = _misplaced_secrets(tree)
    named = _overlay(tree, env, problems)
    problems += [_spelled(key, named) + ": an address may not hold a password" for key in with_password(tree)]
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        problems += [sentence(entry, Config, named) for entry in error.errors(include_url=False)]
    if problems:
        listed = "".join(f"\n  - {line}" for line in problems)
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise ConfigError(f"{count}{listed}", where=str(chosen))
    secrets = Secrets.model_validate({name.lower(): env[name] for name in SECRET_NAMES if env.get(name)})
    run = config.run.model_copy(update={key: root / getattr(config.run, key) for key in _PATHS})
    return config.model_copy(update={"secrets": secrets, "root": root, "run": run})


_PATHS = ("checkpoint_dir", "data_dir", "log_file")
_OWN_NAMES = {"BACKFILL_CONFIG", "BACKFILL_DEBUG", "BACKFILL_PLAIN"}
_NOT_SECTIONS = ("secrets", "root")
_SECRETS_ELSEWHERE = f"secrets come from the environment: {', '.join(SECRET_NAMES)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "no such file", where=str(path), remedy="--config FILE, or copy the project's config.toml"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(path)) from None


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {key: value for key, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from None


def _misplaced_secrets(tree: dict[str, Any]) -> list[str]:
    """Secrets in the file are refused without repeating them; they are taken out of the tree."""
    found = []
    warehouse = tree.get("warehouse")
    if isinstance(warehouse, dict) and warehouse.pop("password", None) is not None:
        found.append("warehouse.password: secrets do not belong in the file; set BACKFILL_WAREHOUSE__PASSWORD instead")
    for key in _NOT_SECTIONS:
        if tree.pop(key, None) is not None:
            found.append(f"{key}: unknown key" + (f"; {_SECRETS_ELSEWHERE}" if key == "secrets" else ""))
    return found


def _overlay(tree: dict[str, Any], env: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Put the environment's values over the file's; returns the names of the variables by the key they set."""
    named: dict[str, str] = {}
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in _OWN_NAMES:
            continue
        keys = name.removeprefix(PREFIX).lower().split("__")
        if len(keys) < 2 or keys[0] in _NOT_SECTIONS:
            problems.append(
                f"{name}: unknown variable; expected {PREFIX}<SECTION>__<KEY>, such as {PREFIX}RUN__DRAIN_S"
            )
        elif _put(tree, keys, env[name]):
            named[".".join(keys)] = name
        else:
            problems.append(f"{name}: {'.'.join(keys[:-1])} is not a section")
    return named


def _put(tree: dict[str, Any], keys: list[str], text: str) -> bool:
    """Set a value deep in the tree; False when one of the keys on the way is no section."""
    place: Any = tree
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            return False
    place[keys[-1]] = _value(keys, text)
    return True


def _spelled(key: str, named: Mapping[str, str]) -> str:
    """A key, with the variable that set it."""
    return f"{key} ({named[key]})" if key in named else key


def _value(keys: list[str], text: str) -> Any:
    """Lists and tables are written as TOML; everything else stays text for the checks to read."""
    if keys[-1] == "password" or not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
