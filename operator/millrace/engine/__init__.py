"""The engine: from watch events to one pass per object to one status write. It knows no kind."""
