"""Attention and KV-write kernels in Triton; see README.md. Importing this package imports no Triton yet."""
