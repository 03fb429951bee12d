"""From a node contract as it is written to one that runs. Pure."""
