"""What the operator knows of Kubernetes itself: the client, names, labels, owners, leases and the shape of pods."""
