"""Packed weights on disk, so that a later start maps them; see README.md."""
