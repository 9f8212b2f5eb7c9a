"""The worker behind a Dataset object: reads a source once, checks it, splits it, publishes it, says what it found.

It runs in a pod of its own because the operator is control plane only and never touches data.
Standard library only: what is not in the image cannot break it.
"""
