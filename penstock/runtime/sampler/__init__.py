"""Choosing tokens: see `sampler.Sampler`."""
