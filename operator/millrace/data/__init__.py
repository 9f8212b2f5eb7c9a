"""Dated tables with their sources: what a cloud offers, as data instead of as code."""
