"""Structured output: languages that answers must belong to, compiled to masks over the vocabulary."""
