"""The lane of Go packages: each version in a process of its own."""

from midflight._errors import GoError, GoPanicError
from midflight.build.go_host import is_go_host
from midflight.lanes.go.classes import GoStruct, GoValue
from midflight.lanes.go.lane import GoLane
from midflight.lanes.go.objects import GoObject

__all__ = ["GoError", "GoLane", "GoObject", "GoPanicError", "GoStruct", "GoValue", "is_go_host"]
