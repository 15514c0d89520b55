"""Penstock: an LLM inference engine, server and simulator built from small policies."""
