"""What is left on a connection after a reply: bytes that would be read as the reply to the next request on it.

A server that sends a body with a 204, more than its content-length says, or two replies for one request leaves them.
They wait in one of four places: in the parser of HTTP, decrypted or not in TLS, in anyio's queue, or in the socket.
Neither httpcore nor httpcore2 looks at more than the last, and no public name leads to the others: the private ones
that are used here are the same in both, and stand here alone. Where one goes away, the first exchange raises.
"""

# ruff: noqa: SLF001

import ssl
from collections.abc import Mapping
from typing import Any

_NO_CONTENT = 204


def is_clean(http: Any) -> bool:
    """Return whether nothing is left on an AsyncHTTPConnection, and nothing more has come so far.

    What TLS has received is consumed, so that a connection on which something is left can only be closed. One that
    never came about is clean.
    """
    connection = http._connection
    return connection is None or (_is_parsed(connection) and not _has_more(connection._network_stream))


def frames_twice(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a reply says two things about where it ends, so that its server may see its end elsewhere.

    The names of the headers are in lower case. Such a reply is read by RFC 9112, section 6.3, but what the server sends
    behind that may still be on its way: there is no moment at which its connection is known to be clean.
    """
    packed, length = "transfer-encoding" in headers, headers.get("content-length")
    if status == _NO_CONTENT:
        return packed or length not in (None, "0")
    return packed and length is not None


def _is_parsed(connection: Any) -> bool:
    """Return whether the parser has nothing in hand: no bytes; with HTTP/2, no begun frame and no foreign stream."""
    if hasattr(connection, "_h11_state"):
        trailing, is_ended = connection._h11_state.trailing_data
        return not trailing and not is_ended
    protocol = connection._h2_state
    frames = protocol.incoming_buffer
    # A server opens no stream of its own: it was told to push nothing.
    return not frames._data and not frames._headers_buffer and not protocol.highest_inbound_stream_id


def _has_more(stream: Any) -> bool:
    """Return whether a read would return at once, with bytes or with the end of the connection."""
    wire = stream._stream
    tls = stream.get_extra_info("ssl_object")
    if tls is not None:
        wire = wire.transport_stream
        try:
            # Takes records of TLS that hold no data, such as session tickets, and waits for nothing.
            tls.read(1)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return True
        else:
            return True
    return bool(wire._protocol.read_event.is_set() or stream.get_extra_info("is_readable"))
