"""A host's secrets: references put into settings, rotation while it runs, and redaction of what it says."""
