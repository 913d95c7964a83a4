"""Makes the fixtures of talking.py available here."""

from __future__ import annotations

from talking import command, plain, talk

__all__ = ["command", "plain", "talk"]
