"""Stores in which nodes with `idempotency` keep their answers: a file or folder each, and none imports another."""
