"""A client of HashiCorp Vault and OpenBao over their HTTP API, for the handler and for a host's own secrets."""
