"""What the parity tests do not reach: padding, given plans, and row planners that leave rows out."""

import dataclasses

import pytest
import torch

from penstock.kernels.planner import LayerRows
from tests.models.families import VOCAB
from tests.models.paged import Paged

TEXT = torch.randint(3, VOCAB, (40,), generator=torch.Generator().manual_seed(2))


class FromLayerOn:
    """From a layer on, only every third row goes on: what a planner for prompts that need no logits does."""

    name = "thirds"

    def __init__(self, first):
        self.first = first

    def plan(self, rows, layers):
        keep = torch.arange(0, len(rows.tokens_N), 3)
        ends = torch.tensor(rows.q_lens).cumsum(0)
        owner = torch.searchsorted(ends, keep, right=True)
        narrow = dataclasses.replace(
            rows,
            tokens_N=rows.tokens_N[keep],
            positions_N=rows.positions_N[keep],
            kv_slots_N=rows.kv_slots_N[keep],
            q_lens=torch.bincount(owner, minlength=len(rows.q_lens)).tolist(),
        )
        self.keep = keep
        before = [LayerRows(rows)] * self.first
        return [*before, LayerRows(narrow, keep), *[LayerRows(narrow)] * (layers - self.first - 1)]

    def fingerprint(self):
        return ""


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt-neox", "opt"])
def test_left_out_rows_do_not_change_the_others(tiny, family):
    """Leaving queries out of the last layer is exact: its keys are stored for all rows all the same."""
    model = tiny(family)
    decoder = model.decoder
    whole = Paged(decoder, [TEXT, TEXT[:10]])
    want = whole.step([(0, 31), (1, 1)])
    planner = FromLayerOn(len(decoder.spec.blocks) - 1)
    stack = decoder.stack
    decoder.stack = dataclasses.replace(stack, planner=planner)
    try:
        part = Paged(decoder, [TEXT, TEXT[:10]])
        got = part.step([(0, 31), (1, 1)])
    finally:
        decoder.stack = stack
    together, kept = torch.cat(list(want.values())), torch.cat(list(got.values()))
    torch.testing.assert_close(kept[planner.keep], together[planner.keep], atol=1e-5, rtol=1e-5)
    left_out = torch.ones(32, dtype=torch.bool)
    left_out[planner.keep] = False
    assert (kept[left_out] == kept[left_out][0]).all(), "hidden states of rows left out are zero"
    # The next step reads what was stored.
    torch.testing.assert_close(part.step([(0, 9)])[0], whole.step([(0, 9)])[0], atol=1e-5, rtol=1e-5)


def _rows(decoder, paged):
    """Return the rows of one step of the first 20 tokens, without running it."""
    caught = []
    forward = decoder.forward
    decoder.forward = lambda rows, kv: caught.append(rows) or forward(rows, kv)
    try:
        logits = paged.step([(0, 20)])[0]
    finally:
        del decoder.forward
    return caught[0], logits


@pytest.mark.parametrize("by_scratch", [False, True])
def test_padding_rows(tiny, by_scratch):
    """Padding changes no logits and no page, whether it is left out or sent to the scratch page."""
    decoder = tiny("llama").decoder
    paged = Paged(decoder, [TEXT])
    rows, want = _rows(decoder, paged)
    kv = decoder.new_kv(paged.kv.blocks, paged.page)
    pad = torch.zeros(12, dtype=torch.int64)
    padded = dataclasses.replace(
        rows,
        tokens_N=torch.cat((rows.tokens_N, pad)),
        positions_N=torch.cat((rows.positions_N, pad)),
        kv_slots_N=torch.cat((rows.kv_slots_N, pad + (kv.scratch_slot if by_scratch else 0))),
        padded_from=None if by_scratch else 20,
    )
    hidden = decoder.forward(padded, kv, decoder.plan(padded, kv.page_size))
    assert hidden.shape[0] == 32 and torch.isfinite(hidden).all()
    torch.testing.assert_close(decoder.logits(hidden[:20]), want, atol=1e-5, rtol=1e-5)
    for layer in decoder.stack.layers:
        for name, plane in kv.layer(layer.index).planes.items():
            clean = paged.kv.layer(layer.index).planes[name]
            torch.testing.assert_close(plane[: kv.blocks], clean[: kv.blocks], atol=1e-6, rtol=1e-5)


def test_block_bytes_are_what_the_store_takes(tiny):
    for family in ("llama", "gemma3", "opt"):
        decoder = tiny(family).decoder
        kv = decoder.new_kv(7, 16)
        assert kv.nbytes() == 8 * decoder.kv_bytes_per_block(16)
