"""What runs in pods beside the user's program, from the operator's image: preflight, tail and verify.

Standard library only, so that starting one costs tens of milliseconds.
"""
