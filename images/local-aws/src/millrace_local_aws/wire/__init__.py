"""HTTP in, HTTP out: from bytes to one checked request of one operation, and back. Knows no service."""
