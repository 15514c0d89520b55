"""Built-in `route` policies, one a file."""
