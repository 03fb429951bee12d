"""HTTP: connections, and a small client for servers whose API is JSON, which the handlers of such servers share.

`json_messages` holds the values that go in and out, `json_client` sends them; `values` has what contracts write.
Importing this package imports no HTTP library.
"""

from omnibase_infra.http.json_messages import RestReply, RestRequest, RestServer

__all__ = ["RestReply", "RestRequest", "RestServer"]
