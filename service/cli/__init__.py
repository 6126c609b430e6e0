"""The `muniment` command."""

from service.cli.command import app, main

__all__ = ["app", "main"]
