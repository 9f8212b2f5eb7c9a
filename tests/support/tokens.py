"""Tokens as an OpenID Connect provider gives them, without a signature."""

from __future__ import annotations

import base64
import json


def unsigned(**claims: object) -> str:
    """A JWT of these claims."""
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {}))
