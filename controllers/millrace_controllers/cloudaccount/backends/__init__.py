"""Where a CloudAccount's work is done."""
