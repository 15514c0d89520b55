"""Built-in `shape` policies, one a file."""
