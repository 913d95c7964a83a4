"""The lane of modules that are offered elsewhere, over a Unix or TCP socket."""

from midflight.lanes.remote.lane import RemoteArtifact, RemoteCode, RemoteLane, RemoteSource, source
from midflight.lanes.remote.pointers import RemotePointer

__all__ = ["RemoteArtifact", "RemoteCode", "RemoteLane", "RemotePointer", "RemoteSource", "source"]
