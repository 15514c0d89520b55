"""Built-in `evict` policies, one a file."""
