"""Texts that somebody might send so that a database does what they want: none may ever be more than a value."""

TEXTS = (
    "'; drop table users; --",
    "1; delete from users",
    "1 or 1=1",
    "' or '1'='1",
    "' union select id, name from users --",
    "\\'; select pg_sleep(10); --",
    "$1",
    "%(id)s",
    "%s",
    "$$; drop table users; $$",
    "/* */ -- \n;",
    "\\x27; drop table users",
    "\u02bc; drop table users",
    "\uff07; drop table users; --",
    '"; drop table users; --',
    "E'\\047; drop table users'",
    "U&'\\0027; drop table users'",
    "{1,2}",
    '{"a","b"}',
    "NULL",
    "\\N",
    "\\.\n1\t2",
    "a\tb\\n",
    "users; commit; drop table users",
    "0x31 or 1=1",
    "1e400",
    "x" * 100_000,
)
UNBINDABLE = ("a\0b", "\ud800")
"""Texts that PostgreSQL has no form for."""
