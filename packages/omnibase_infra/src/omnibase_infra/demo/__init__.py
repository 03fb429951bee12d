"""What `runtime-host demo` brings along: the example contracts, their functions and a small service to call."""
