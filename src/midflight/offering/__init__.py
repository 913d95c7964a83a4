"""The other side of the remote lane: a module of this program is offered to others, over a socket."""
