"""Readers of recorded requests, streaming, by schema; `open.py` knows them by name."""
