"""Names of the exams and of the models that sit them. Imports nothing, for the command line reads it."""

PARTS = ("skills", "targets", "grid", "controls", "draft", "adapters", "ranker", "embedder")
"""Exams in the order in which they are held."""

OF_CHAT = PARTS[:4]
"""Those that any chat model can sit; the others are about the helpers of the bundled one."""

CHAT, DRAFT, RANKER, EMBEDDER = "penstock-chat", "penstock-draft", "ranker", "embedder"
COMPARED = ("penstock-small", "penstock-moe")
"""Chat models beside the bundled one: they sit the skills only."""

QUESTIONS, FEW = 200, 20
"""Questions behind each figure: by default, and for a glance."""
