"""Places where a Dataset's content is read."""
