"""Time, life cycles and events: what all services share and no service owns."""
