"""The JSON Schema of ``midflight doctor --json``: docs/doctor.schema.json."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from midflight.inspection.model import Inspection


def schema() -> dict[str, Any]:
    """Return the schema.  Every member is in every answer, so all are required."""
    made = msgspec.json.schema(Inspection)
    for one in made["$defs"].values():
        one["description"] = " ".join(inspect.cleandoc(one.get("description", "")).split())
        one["required"] = sorted(one["properties"])
        for member in one["properties"].values():
            member.pop("default", None)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "midflight doctor --json"}
    return head | made
