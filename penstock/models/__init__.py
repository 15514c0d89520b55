"""Decoders described by a `ModelSpec`, read from Hugging Face folders."""
