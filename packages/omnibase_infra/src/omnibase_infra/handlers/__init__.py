"""The handlers that come with the host: one file or folder each, none imports another."""
