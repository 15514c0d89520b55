"""ListMLE: the likelihood of the true order of a list under scores (Xia et al., ICML 2008)."""

from __future__ import annotations

import torch


def list_mle(scores: torch.Tensor, lengths: torch.Tensor, order: torch.Tensor | None = None) -> torch.Tensor:
    """Return the negative log-likelihood per item that the scores give to the order of falling length.

    With items sorted by length, longest first: ``mean_i [ log sum_{j >= i} exp(s_j) - s_i ]``.

    Args:
        scores: [n], larger for longer.
        lengths: [n], the truth.
        order: a permutation [n] in which equal lengths are taken; as given if None. Draw one for each
            step: a fixed order among equals would be learned.
    """
    if order is not None:
        scores, lengths = scores[order], lengths[order]
    ranked = scores[torch.argsort(lengths, descending=True, stable=True)]
    below = torch.logcumsumexp(ranked.flip(0), dim=0).flip(0)
    return (below - ranked).mean()
