"""The lane of native libraries in this process: a private image for each version."""

from midflight.lanes.native.lane import NativeLane

__all__ = ["NativeLane"]
