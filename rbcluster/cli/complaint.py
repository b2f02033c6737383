"""How a command says what went wrong."""

from __future__ import annotations

import click

from rbcluster.cli.phrasing import printable
from rbcluster.errors import RbclusterError


def complain(error: RbclusterError) -> None:
    """Print each line of an error to stderr, so that every line can be found by its prefix."""
    for line in str(error).splitlines():
        click.echo(f"rbcluster: {printable(line)}", err=True)
