"""Makes the fixtures of tests.talking available here."""

from __future__ import annotations

from tests.talking import command, plain, talk

__all__ = ["command", "plain", "talk"]
