"""One running host: what it opens, how it ends, and what it tells of itself."""
