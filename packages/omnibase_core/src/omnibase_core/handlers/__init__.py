"""The handlers that need nobody outside. Worker processes import one file of this folder."""
