"""PostgreSQL: connections, and the store of recorded answers."""
