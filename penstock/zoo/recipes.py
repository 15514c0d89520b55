"""Recipes: the shape of a model, its curriculum and its optimiser, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a Llama-style model with tied embeddings; Mixtral-style with ``experts``."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    context: int
    experts: int = 0
    top_k: int = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the curriculum.

    Attributes:
        rows: a batch has room for this many documents of full length.
        length: most tokens in a document.
        steps: optimiser steps, at most.
        peak: learning rate after the warm-up.
        floor: learning rate at the end of the cosine.
        mix: how often each skill is drawn; the chat mix by default.
        turns: draw the least number of turns evenly from 1 to this; None for the natural distribution.
        share: part of the time that the stage gets where the run is given minutes; it goes by tokens unless
            every stage of the recipe has one.
    """

    rows: int
    length: int
    steps: int
    peak: float
    floor: float
    mix: Mapping[str, float] | None = None
    turns: int | None = None
    share: float | None = None

    @property
    def batch(self) -> int:
        """Token positions of a batch, padding included."""
        return self.rows * self.length

    @property
    def tokens(self) -> int:
        """Token positions that the stage processes, padding included."""
        return self.batch * self.steps


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a trained model, besides the data generators.

    Attributes:
        name: folder name of the model.
        shape: its dimensions.
        stages: the curriculum.
        start: bundled model whose weights the run begins with; None for a fresh start. Experts begin with the
            neurons of a dense one.
        teacher: bundled model whose tokenizer is used and whose answers are imitated; None for neither.
        imitation: share of the teacher's divergence in the loss; the rest is cross-entropy.
        balance: weight of the load-balance loss of experts.
        optimizer: ``muon`` for the matrices with AdamW for the rest, or ``adamw`` for all.
        prompt_share: share of conversations whose prompts are learnt too, with weight ``prompt_weight``.
    """

    name: str
    shape: Shape
    stages: tuple[Stage, ...]
    start: str | None = None
    teacher: str | None = None
    imitation: float = 0.7
    balance: float = 0.02
    optimizer: str = "muon"
    seed: int = 1
    warmup: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    prompt_weight: float = 1.0
    prompt_share: float = 0.0

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def tokens(self) -> int:
        """Token positions of all stages."""
        return sum(stage.tokens for stage in self.stages)

    def time_share(self, number: int) -> float:
        """Return the share of a run's time that belongs to stage ``number``."""
        shares = [stage.share for stage in self.stages if stage.share is not None]
        parts = shares if len(shares) == len(self.stages) else [stage.tokens for stage in self.stages]
        return parts[number] / sum(parts)


_SHORT: dict[str, float] = {
    "recall": 12.0,
    "copying": 16.0,
    "editing": 8.0,
    "arithmetic": 12.0,
    "lengths": 5.0,
    "lists": 3.0,
    "counting": 3.0,
    "spelling": 2.0,
    "json": 3.0,
    "single_chunk": 2.0,
    "two_chunk": 3.0,
    "puzzles": 2.0,
    "smalltalk": 4.0,
    "glossary": 2.0,
    "stories": 0.5,
    "facts": 2.0,
    "yesno": 4.0,
    "refusals": 1.5,
    "memory": 1.5,
    "tone": 2.0,
}
"""What fits into short rows, with much that is found and copied: the circuits that recall needs."""

_NEED: dict[str, float] = {
    **_SHORT,
    "recall": 6.0,
    "copying": 10.0,
    "editing": 6.0,
    "arithmetic": 10.0,
    "json": 10.0,
    "steps": 5.0,
    "tools": 4.0,
    "lengths": 5.0,
    "single_chunk": 1.5,
    "two_chunk": 2.5,
    "quoting": 1.0,
    "puzzles": 3.0,
    "smalltalk": 6.0,
    "glossary": 3.0,
    "facts": 3.0,
    "yesno": 6.0,
    "refusals": 2.5,
}
"""Every skill, by need."""

_LONG: dict[str, float] = {
    **_NEED,
    "spelling": 0.5,
    "recall": 5.0,
    "single_chunk": 1.5,
    "two_chunk": 3.0,
    "memory": 2.5,
}
"""Every skill where contexts are long (a fragment of recall then takes a thousand tokens)."""

_WIDE: dict[str, float] = {
    **_NEED,
    "recall": 10.0,
    "copying": 12.0,
    "editing": 2.0,
    "spelling": 0.2,
    "json": 13.0,
    "steps": 10.0,
    "tools": 9.0,
    "lengths": 9.0,
    "counting": 4.0,
    "two_chunk": 3.0,
    "quoting": 2.0,
    "smalltalk": 4.0,
    "yesno": 5.0,
}
"""Every skill in contexts of every length at once, most of it what is examined hardest."""

_FAR: dict[str, float] = {**_WIDE, "recall": 22.0, "single_chunk": 4.0, "two_chunk": 5.0, "quoting": 3.0}
"""The same with more to be found again."""

BASICS = (
    Stage(16, 256, 2400, 2.0e-3, 6.0e-4, _SHORT),
    Stage(8, 512, 1500, 8.0e-4, 4.0e-4),
)
"""The first stages of a model that knows nothing: words, turns, when to stop."""

SKILLED = (
    Stage(16, 256, 700, 1.0e-3, 7.0e-4, _SHORT, share=0.12),
    Stage(8, 512, 2600, 8.0e-4, 3.0e-4, _NEED, share=0.46),
    Stage(4, 1024, 1400, 6.0e-4, 3.5e-4, _LONG, share=0.21),
    Stage(2, 2048, 1200, 3.5e-4, 1.0e-5, _LONG, turns=8, share=0.225),
)
"""Recall in short contexts first, then all skills by need, then long contexts."""

WIDE = (
    Stage(4, 1024, 2400, 7.0e-4, 4.0e-4, _WIDE, share=0.31),
    Stage(2, 2048, 4000, 5.0e-4, 1.0e-5, _WIDE, share=0.445),
    Stage(1, 3072, 2400, 3.5e-4, 1.0e-5, _FAR, share=0.245),
)
"""Long contexts at length, the hardest skills most. Texts longer than the context come last: within it, what
lies at one end and is asked for at the other would be too rare to learn."""

_CHAT_SHAPE = Shape(256, 6, 4, 2, 64, 640, 3072, 2048)

CHAT = Recipe("penstock-chat", _CHAT_SHAPE, (*BASICS, *SKILLED, *WIDE))
"""The bundled default from nothing: about five million parameters."""

CHAT_LARGE = Recipe(
    "penstock-chat-large",
    Shape(512, 8, 8, 4, 64, 1280, 3072, 4096),
    (
        Stage(128, 256, 3000, 1.5e-3, 8.0e-4, _SHORT),
        Stage(64, 512, 4000, 8.0e-4, 4.0e-4, _NEED),
        Stage(32, 1024, 2000, 4.0e-4, 2.0e-4, _LONG),
        Stage(16, 4096, 2000, 2.0e-4, 1.0e-5, _LONG, turns=12),
    ),
    prompt_share=0.05,
    warmup=300,
)
"""Five times the default, with twice its context: for a GPU (``--device cuda``)."""

CHAT_SKILLS = Recipe(
    "penstock-chat",
    _CHAT_SHAPE,
    WIDE,
    start="penstock-chat",
    seed=6,
)
"""More training for the bundled default: the last part of the way that the shipped weights went."""


_DISTILLED = (
    Stage(16, 256, 1600, 3.0e-3, 1.5e-3, _SHORT, share=0.3),
    Stage(8, 512, 2400, 1.5e-3, 4.0e-4, _NEED, share=0.45),
    Stage(2, 2048, 1200, 5.0e-4, 1.0e-5, _LONG, turns=8, share=0.25),
)

SMALL = Recipe(
    "penstock-small", Shape(128, 5, 4, 2, 32, 320, 3072, 2048), _DISTILLED, teacher="penstock-chat", seed=3
)
"""A quarter of the default, with the same skills, worse: for routing, judging and hand-off."""

DRAFT = Recipe(
    "penstock-draft",
    Shape(128, 3, 4, 2, 32, 320, 3072, 2048),
    _DISTILLED,
    teacher="penstock-chat",
    imitation=0.9,
    seed=4,
)
"""Under a million parameters that guess what the default says next: for speculative decoding."""

MOE = Recipe(
    "penstock-moe",
    Shape(256, 6, 4, 2, 64, 160, 3072, 2048, experts=8, top_k=2),
    (
        Stage(16, 256, 600, 1.0e-3, 6.0e-4, _SHORT, share=0.25),
        Stage(8, 512, 1200, 6.0e-4, 2.0e-4, _NEED, share=0.45),
        Stage(2, 2048, 600, 2.0e-4, 1.0e-5, _LONG, turns=8, share=0.3),
    ),
    start="penstock-chat",
    teacher="penstock-chat",
    imitation=0.5,
    seed=5,
)
"""Eight experts, two at a time, made from the default and taught by it."""


def smoke(recipe: Recipe) -> Recipe:
    """Return ``recipe`` in seconds: a tiny model with the same losses and optimiser, on short rows."""
    shape = replace(
        recipe.shape, hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate=64, context=256
    )
    if recipe.teacher is None:
        shape = replace(shape, vocab=512)
    mixes = [stage.mix for stage in (recipe.stages[0], recipe.stages[-1])]
    stages = (
        Stage(4, 64, 30, 1.0e-2, 5.0e-3, mixes[0]),
        Stage(2, 128, 10, 5.0e-3, 1.0e-3, mixes[1]),
    )
    return replace(recipe, shape=shape, stages=stages, start=None, warmup=2)


RECIPES: dict[str, Recipe] = {
    "chat": CHAT,
    "chat-skills": CHAT_SKILLS,
    "chat-large": CHAT_LARGE,
    "small": SMALL,
    "draft": DRAFT,
    "moe": MOE,
}
"""Recipes by the name used on the command line."""
