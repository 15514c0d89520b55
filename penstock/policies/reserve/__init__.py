"""Built-in `reserve` policies, one a file."""
