"""Load generation and measurement; see README.md in this folder."""
