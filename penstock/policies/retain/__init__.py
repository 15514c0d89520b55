"""Built-in `retain` policies, one a file."""
