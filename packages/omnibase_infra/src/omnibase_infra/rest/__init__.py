"""A small client for servers whose API is JSON over HTTP: what the handlers of such servers share.

`messages` holds the values that go in and out, `client` sends them; `grammar` has the words that contracts write.
Importing this package imports no HTTP library.
"""

from omnibase_infra.rest.messages import RestReply, RestRequest, RestServer

__all__ = ["RestReply", "RestRequest", "RestServer"]
