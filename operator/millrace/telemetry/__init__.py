"""Metrics and logs. No object's name is ever a metric's label."""
