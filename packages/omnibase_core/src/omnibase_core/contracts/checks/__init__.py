"""What a contract may not say although each key of it is valid. Pure."""
