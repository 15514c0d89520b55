"""How often a draft model would have written what the big model wrote.

At temperature 0 a drafted token is accepted if and only if it is the verifier's own choice (Leviathan et al.
2023), so the rate of acceptance per token is the share of tokens of the verifier's answers that the draft,
shown the true tokens before, puts first.
"""

from collections.abc import Mapping, Sequence

from penstock.zoo.exams.answers import Answerer, Reply
from penstock.zoo.exams.rows import Row, clustered

NAME = "acceptance per token"
TARGET = 0.6


def acceptance(draft: Answerer, replies: Mapping[str, Sequence[Reply]]) -> list[Row]:
    """Return the acceptance over all answers of the verifier, then by skill.

    Args:
        draft: the draft model; reads the same tokens as the verifier.
        replies: the verifier's greedy answers by skill.
    """
    trials: dict[str, list[tuple[int, int]]] = {}
    for skill, given in replies.items():
        texts = [(reply.prompt_ids, reply.ids) for reply in given if reply.ids]
        trials[skill] = [(sum(kept), len(kept)) for kept in draft.first_choices(texts)]
    everything = [trial for found in trials.values() for trial in found]
    by_skill = [
        clustered("draft", draft.name, NAME, found, labels={"skill": skill})
        for skill, found in trials.items()
    ]
    return [clustered("draft", draft.name, NAME, everything, target=TARGET), *by_skill]
