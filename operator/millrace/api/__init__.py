"""The typed API: pydantic models are the source of CRDs, RBAC and the documentation's field tables."""
