"""Executors: what runs plans. See `inline.build_executor`."""
