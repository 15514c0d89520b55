"""How compute threads wait for each other. Imports nothing, so that it can come before torch."""

SPIN_LESS = {"GOMP_SPINCOUNT": "20000"}
"""Environment that makes compute threads which wait for each other sleep soon instead of spinning on.

By default they spin for milliseconds: if another program takes one of their cores, every operation of the
model waits that long. Read when the OpenMP library is loaded, hence set before torch is imported."""
