"""`backfill simulate`: the pretend upstreams alone, until stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from backfill.simulator.runner import RunOptions

USAGE = 2
NO_LIMITS = "off"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


Limits = Annotated[str, typer.Option(help="REQUESTS/SECONDS, several by commas.")]


def simulate(
    context: typer.Context,
    seed: Annotated[int, typer.Option(help="Seed of the world and of the faults.")] = 1,
    tokens: Annotated[int, typer.Option(min=0, help="Traded tokens; with --data at most so many, 0 for all.")] = 2000,
    mapped: Annotated[int | None, typer.Option(min=0, help="Tokens that are already mapped; default 34.6 %.")] = None,
    full: Annotated[
        bool, typer.Option(help="Let everything occur that ever occurred, conversions and ties too.")
    ] = False,
    busy: Annotated[float, typer.Option(min=0, help="Fills by token, on average; implies --full.")] = 0.0,
    bursts: Annotated[int, typer.Option(min=0, help="Tokens with over 1,000 fills in a second; implies --full.")] = 0,
    after_cutover: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the orders that are V2.")] = 0.25,
    now: Annotated[int | None, typer.Option(help="Moment that the clock stands at, in unix seconds.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of recorded answers to serve instead.")] = None,
    dumps: Annotated[Path | None, typer.Option(help="Write the world's fills and token map into this folder.")] = None,
    latency_ms: Annotated[float, typer.Option(min=0, help="Delay of every answer, in milliseconds.")] = 20.0,
    jitter_ms: Annotated[float, typer.Option(min=0, help="Up to so much more delay.")] = 0.0,
    faults: Annotated[str, typer.Option(help="none, mild, rough, liar or all.")] = "none",
    limits: Annotated[bool, typer.Option("--limits/--no-limits", help="Whether request limits are enforced.")] = True,
    dome_limits: Limits = "10/1,100/10",
    goldsky_limits: Limits = "50/10",
    data_api_limits: Limits = "200/10",
    gamma_limits: Limits = "300/10",
    clob_limits: Limits = "500/10",
    polygon_limits: Limits = "100/10",
    retry_after: Annotated[str, typer.Option(help="Retry-After of a 429: none, seconds or date.")] = "none",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 0,
    record: Annotated[Path | None, typer.Option(help="File for the record of all requests, written on exit.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Run local servers that behave like the six upstreams, and print where they are. Stop with Ctrl-C."""
    options = _options(context.params)
    _check(options)
    raise typer.Exit(_run(options, as_json))


def _options(given: dict[str, Any]) -> RunOptions:
    """The command's options under the same names, paths as text; `--no-limits` is about every upstream."""
    from backfill.simulator.runner import RunOptions

    limited = given["limits"]
    options: dict[str, Any] = {name: value for name, value in given.items() if name not in ("limits", "as_json")}
    for name, value in options.items():
        if isinstance(value, Path):
            options[name] = str(value)
        elif name.endswith("_limits") and not limited:
            options[name] = NO_LIMITS
    return RunOptions(**options)


def _check(options: RunOptions) -> None:
    """Refuse what cannot be simulated in one line, before anything is made."""
    from backfill.simulator.faults import profile_of

    try:
        options.limits()
        profile_of(options.faults)
    except ValueError as error:
        _refuse(str(error))
    if options.retry_after not in ("none", "seconds", "date"):
        _refuse(f"--retry-after {options.retry_after!r}: expected none, seconds or date")
    if options.data is not None and not Path(options.data).is_dir():
        _refuse(f"--data {options.data}: no such folder")
    if options.data is None and not max(1, options.mapped or 0) <= options.tokens:
        _refuse(f"--tokens {options.tokens}: must be at least 1, and at least as many as --mapped")


def _refuse(message: str) -> None:
    typer.echo(f"simulate: {message}", err=True)
    raise typer.Exit(USAGE)


def _run(options: RunOptions, as_json: bool) -> int:
    from backfill.simulator.runner import run

    try:
        return run(options, _print_json if as_json else _print_text)
    except OSError as error:  # the port is taken, or a file is not readable or writable
        _refuse(str(error))
        raise


def _print_json(ready: dict[str, Any]) -> None:
    import orjson

    print(orjson.dumps(ready).decode(), flush=True)


def _print_text(ready: dict[str, Any]) -> None:
    world = ready["world"]
    urls = {key.removesuffix("_url"): url for key, url in ready.items() if key.endswith("_url") and key != "base_url"}
    lines = [f"{name:<8} {url}" for name, url in urls.items()]
    lines += ["", *(f"export {name}={value}" for name, value in ready["env"].items())]
    lines += ["", f"{world['traded']:,} traded tokens, {world['mapped']:,} of them mapped (seed {world['seed']})"]
    lines += [f"{name}  {ready[name]}" for name in ("fills", "token_map") if name in ready]
    print("\n".join(lines), "stop with Ctrl-C", sep="\n", flush=True)
