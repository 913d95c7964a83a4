"""The lane of native libraries in processes of their own: one for each version."""

from midflight.lanes.worker.lane import WorkerLane

__all__ = ["WorkerLane"]
