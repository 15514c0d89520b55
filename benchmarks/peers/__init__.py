"""Penstock beside other engines, in one run, on one machine."""
