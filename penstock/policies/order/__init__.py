"""Built-in `order` policies, one a file."""
