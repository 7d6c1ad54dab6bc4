"""Groups of commands to which several files add theirs, in whatever order they are loaded."""

from __future__ import annotations

import typer


def group_of(app: typer.Typer, name: str, help_text: str) -> typer.Typer:
    """The group of this name; made, if it is not there yet."""
    for known in app.registered_groups:
        if known.name == name and known.typer_instance is not None:
            return known.typer_instance
    group = typer.Typer(help=help_text, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group
