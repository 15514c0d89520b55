"""Seeded, endless generators of chat data: one module per skill, and the mixture of them."""

from penstock.zoo.data.base import Skill, Split, Turn, draw, split_of
from penstock.zoo.data.mixture import SKILLS, Conversation, conversation, exam

__all__ = ["SKILLS", "Conversation", "Skill", "Split", "Turn", "conversation", "draw", "exam", "split_of"]
