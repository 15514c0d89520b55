"""Attention backends over paged KV, chosen at start by capability."""
