"""Makes artifacts from sources: finds compilers, builds, caches by content.

`describe` turns what a user names into a `Source`; `Source.resolve` builds it.
"""

from __future__ import annotations

from midflight.build import progress, store
from midflight.build.describe import describe
from midflight.build.model import Artifact, Source

__all__ = ["Artifact", "Source", "describe", "progress", "store"]
