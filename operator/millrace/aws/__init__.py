"""AWS: sessions, paced calls, typed errors, shared lists and events. Beside `backends/` the only place that imports botocore."""
