"""The ONEX Runtime Host itself: Kafka, handlers, health and the `runtime-host` command. Owns all I/O."""
