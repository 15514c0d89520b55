"""Built-in `preempt` policies, one a file."""
