"""The pure core of the ONEX Runtime Host: envelopes, contracts, the node runtime. No I/O is started from here."""
