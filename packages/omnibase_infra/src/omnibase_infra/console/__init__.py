"""What a person or an orchestrator asks the host: its health."""
