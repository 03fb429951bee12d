"""What stands around each call of a handler, whichever it is: limits, figures, redaction."""
