"""Rolling restart: worker processes behind listening sockets that outlive them, replaced one after another.

`midflight serve app:main` is the way in.  A program needs this package only for the annotation of what its own
``main(listeners, lifecycle)`` gets.
"""

from midflight._errors import BindError, ControlError, RestartRefusedError, ServeError, TargetError
from midflight.serve.lifecycle import Lifecycle, Stopping

__all__ = ["BindError", "ControlError", "Lifecycle", "RestartRefusedError", "ServeError", "Stopping", "TargetError"]
