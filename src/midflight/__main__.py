"""`python -m midflight` is the command line."""

from __future__ import annotations

from midflight.cli.main import main

main()
