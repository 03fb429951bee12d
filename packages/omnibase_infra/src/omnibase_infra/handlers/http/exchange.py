"""One call's exchange with its target: send, show who we are, follow redirects, read within the limits."""

from dataclasses import dataclass

from omnibase_core.errors import HandlerError
from omnibase_infra.handlers.http.bodies import Unpacker
from omnibase_infra.handlers.http.messages import HttpMessage, Reply, Writer
from omnibase_infra.handlers.http.oauth2_tokens import Tokens, basic
from omnibase_infra.handlers.http.target import BasicAuth, BearerAuth, HttpTarget
from omnibase_infra.http.connections import CallProgress, Connections, Peer, Request, Response

_UNAUTHORIZED = 401
_SECRET_LENGTH_MIN = 8


@dataclass(frozen=True, slots=True)
class OpenHttpTarget:
    """A target with its connections, and its token where it has one."""

    name: str
    target: HttpTarget
    writer: Writer
    connections: Connections
    tokens: Tokens | None

    def redacted(self, text: str) -> str:
        """Return a text without the target's secrets: servers and vendors like to repeat what they were sent."""
        held = [*self.target.secrets, *(self.tokens.secrets if self.tokens else [])]
        if isinstance(self.target.auth, BasicAuth):
            held.append(basic(self.target.auth))
        for secret in sorted({part for value in held for part in (value, *value.split())}, key=len, reverse=True):
            if len(secret) >= _SECRET_LENGTH_MIN:
                text = text.replace(secret, "***")
        return text

    async def roundtrip(self, message: HttpMessage, *, bytes_max: int, progress: CallProgress) -> Reply:
        """Send a message and read what comes back, no further than it may be."""
        origin = message.origin
        request = Request(
            peer=Peer(origin.scheme, origin.host.strip("[]"), origin.port),
            method=message.method,
            target=message.target,
            headers={"host": origin.authority, **message.headers},
            content=message.content or b"",
        )
        async with self.connections.exchange(request, progress) as response:
            body, fault = await _read(response, bytes_max=bytes_max)
        return Reply(response.status, response.headers, body, fault)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one call does with its target."""

    opened: OpenHttpTarget
    progress: CallProgress

    async def send(self, message: HttpMessage, *, redirects: int, bytes_max: int) -> tuple[HttpMessage, Reply]:
        """Send a message, follow as many redirects as may be, and give the last message with its reply."""
        reply = await self._authorized(message, bytes_max=bytes_max)
        for _ in range(redirects):
            if reply.location is None:
                return message, reply
            followed = self.opened.writer.redirected(message, reply.status, reply.location)
            # A POST that is answered with where to look has been done.
            self.progress.has_acted |= followed.method != message.method
            message = followed
            reply = await self._authorized(message, bytes_max=bytes_max)
        if redirects and reply.location is not None:
            raise HandlerError("redirect_refused", f"{message}: more than {redirects} redirects (redirects)")
        return message, reply

    async def _authorized(self, message: HttpMessage, *, bytes_max: int) -> Reply:
        """Send a message as who we are; with a token that is refused, once more with another."""
        match self.opened.target.auth:
            case BasicAuth() as auth:
                return await self._with(message, basic(auth), bytes_max=bytes_max)
            case BearerAuth(token=secret):
                return await self._with(message, f"Bearer {secret.get_secret_value()}", bytes_max=bytes_max)
        tokens = self.opened.tokens
        if tokens is None:
            return await self.opened.roundtrip(message, bytes_max=bytes_max, progress=self.progress)
        self.progress.connection = None
        token = await tokens.token()
        reply = await self._with(message, f"Bearer {token}", bytes_max=bytes_max)
        if reply.status != _UNAUTHORIZED:
            return reply
        self.progress.connection = None
        token = await tokens.token(instead_of=token)
        return await self._with(message, f"Bearer {token}", bytes_max=bytes_max)

    async def _with(self, message: HttpMessage, authorization: str, *, bytes_max: int) -> Reply:
        signed = HttpMessage(
            method=message.method,
            origin=message.origin,
            target=message.target,
            headers={**message.headers, "authorization": authorization},
            content=message.content,
        )
        return await self.opened.roundtrip(signed, bytes_max=bytes_max, progress=self.progress)


async def _read(response: Response, *, bytes_max: int) -> tuple[bytes, HandlerError | None]:
    """Read and unpack the body up to the limit, and say why it is not whole if it is not."""
    body = bytearray()
    unpacker = Unpacker(response.headers.get("content-encoding", ""))
    try:
        async for piece in response.pieces:
            body += unpacker.unpack(piece, bytes_max=bytes_max + 1 - len(body))
            if len(body) > bytes_max:
                message = f"the body is over {bytes_max} bytes (response_bytes_max of the target)"
                return bytes(body[:bytes_max]), HandlerError("response_too_large", message)
        unpacker.finish()
    except ValueError as error:
        return bytes(body), HandlerError("invalid_response", f"the body cannot be unpacked: {error}")
    return bytes(body), None
