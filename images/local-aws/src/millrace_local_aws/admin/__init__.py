"""What no AWS has: the clock, faults and counters of this one, over HTTP below /_millrace/ and as a Python object."""
