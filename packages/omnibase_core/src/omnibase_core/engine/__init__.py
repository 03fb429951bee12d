"""The engine: from a delivery to its answer, in order, with retries, within bounds."""
