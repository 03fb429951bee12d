"""Strict YAML: from the text of a file to a tree that knows the place of every value. Pure."""
