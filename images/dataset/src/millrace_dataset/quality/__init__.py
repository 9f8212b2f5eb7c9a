"""The quality report of a table."""
