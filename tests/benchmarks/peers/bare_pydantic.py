"""The bare loop, with pydantic."""

from bare_loop import serve
from envelope import echo

serve(echo)
