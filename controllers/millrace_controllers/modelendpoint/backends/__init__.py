"""Places where a ModelEndpoint can be served, one module or package a member of spec."""
