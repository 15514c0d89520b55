"""Built-in `admit` policies, one a file."""
