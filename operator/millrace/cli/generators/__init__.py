"""What is generated from the kinds, one module an output: CRDs, RBAC, health checks and pages of documentation.

Each module has one function `files(controllers, root)` that gives the texts by path, relative to the repository's root. It writes
nothing, so that checking and writing are the same work.
"""
