"""Command line options that do without pydantic where nothing has to be converted.

typer has pydantic convert every option's value, also one that was not given, and importing it takes longer than all
that `backfill status` has to do. Flags, options that are absent, and paths need no conversion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


class LightOption(TyperOption):
    """An option that goes to pydantic only with a value to convert."""

    def process_value(self, ctx: Any, value: Any) -> Any:
        """As typer's, with a short way round."""
        if self.required or self.multiple or self.nargs != 1 or not (value is None or self._is_plain_path(value)):
            return super().process_value(ctx, value)
        value = None if value is None else Path(value)
        return value if self.callback is None else self.callback(ctx, self, value)

    def _is_plain_path(self, value: Any) -> bool:
        return isinstance(value, str) and self.type_descriptor.annotation is Path


class LightGroup(TyperGroup):
    """A group with light options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, with `--help`."""
        return _lightened(super().get_params(ctx))


class LightCommand(TyperCommand):
    """A command with light options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, with `--help`."""
        return _lightened(super().get_params(ctx))


def _lightened(params: list[Any]) -> list[Any]:
    for param in params:
        if type(param) is TyperOption:
            param.__class__ = LightOption
    return params
