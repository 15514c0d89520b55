"""Exams of the zoo's models: skills, recall over the context, controls, drafts, adapters, rankers."""
