"""The bare loop with msgspec, of which each answer carries its command's trace."""

from bare_loop import serve
from bare_msgspec import echo

serve(echo, traced=True)
