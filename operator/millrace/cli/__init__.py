"""The command line: `millrace` and `kubectl millrace`."""
