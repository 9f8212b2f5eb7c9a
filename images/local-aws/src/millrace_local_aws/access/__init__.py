"""Who asks, and whether policies let them: IAM's evaluation, used by every service."""
