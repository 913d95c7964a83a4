"""What an artifact offers: read from its bytes or from declarations, compared, and shown in Python.

Nothing here loads or runs a library.  `reader` is the way in; `interface` is the model that all others share.
"""
