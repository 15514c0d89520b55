"""The bucketing, padding and falling back of the graph runner, with a recorder in the place of CUDA."""

from types import SimpleNamespace

import pytest
import torch

from penstock.kernels.rows import StepRows
from penstock.kernels.triton.plan import StaticRows
from penstock.runtime.graphs import GraphRunner, default_buckets, graph_refusal

PAGE, CONTEXT, SCRATCH = 4, 32, 999


class Model:
    """Its hidden states name everything that a row was given, as a graph would see it: from tensors only."""

    context, device = CONTEXT, torch.device("cpu")

    def __init__(self):
        self.calls = []

    def forward(self, rows, kv):
        self.calls.append(type(rows))
        if isinstance(rows, StaticRows):
            lens = rows.kv_lens_S
        else:
            lens = torch.tensor(rows.kv_lens).repeat_interleave(torch.tensor(rows.q_lens))
        first = rows.block_table_SB[:, 0].repeat_interleave(torch.tensor(rows.q_lens))
        columns = (rows.tokens_N, rows.positions_N, rows.kv_slots_N, lens, first)
        return torch.stack([x.double() for x in columns], dim=1)


class Recorder:
    """A capture that runs the recorded function again at each replay, into the same result."""

    def __init__(self):
        self.at_capture = []

    def __call__(self, run):
        out = run().clone()
        self.at_capture.append(out.clone())

        def replay():
            out.copy_(run())

        return replay, out


STORE = SimpleNamespace(page_size=PAGE, scratch_slot=SCRATCH)


def decode(count, seed=0, columns=3):
    gen = torch.Generator().manual_seed(seed)
    kv_lens = torch.randint(1, columns * PAGE + 1, (count,), generator=gen)
    return StepRows(
        tokens_N=torch.randint(1, 50, (count,), generator=gen),
        positions_N=kv_lens - 1,
        kv_slots_N=torch.randint(0, 100, (count,), generator=gen),
        block_table_SB=torch.randint(1, 9, (count, columns), generator=gen, dtype=torch.int32),
        q_lens=[1] * count,
        kv_lens=kv_lens.tolist(),
        sample_rows_R=torch.arange(count),
    )


def runner(most=8, **kwargs):
    model, capture = Model(), Recorder()
    return GraphRunner(model, STORE, most=most, capture=capture, **kwargs), model, capture


def test_buckets_ascend_and_waste_at_most_a_third():
    assert default_buckets(1) == (1,)
    assert default_buckets(20) == (1, 2, 4, 8, 12, 16, 20)
    sizes = default_buckets(300)
    assert sizes[-1] == 300
    for count in range(9, 301):
        size = next(s for s in sizes if s >= count)
        assert (size - count) / size <= 1 / 3


def test_steps_of_all_sizes_equal_the_eager_ones():
    graphs, model, _ = runner()
    for seed, count in enumerate([3, 8, 1, 2, 8, 3, 4]):
        rows = decode(count, seed)
        assert torch.equal(graphs(rows, STORE), model.forward(rows, STORE))
    assert graphs.captured == (1, 2, 4, 8)


def test_a_bucket_is_captured_once():
    graphs, _, capture = runner()
    for seed in range(5):
        graphs(decode(3, seed), STORE)
    assert len(capture.at_capture) == 1


def test_capture_sees_padding_only():
    graphs, _, capture = runner()
    graphs(decode(8), STORE)
    graphs(decode(2), STORE)
    for out in capture.at_capture:
        tokens, positions, slots, lens, _ = out.unbind(1)
        assert (slots == SCRATCH).all()
        assert tokens.abs().max() == positions.abs().max() == lens.abs().max() == 0


def test_rows_past_the_step_are_padding_again_after_a_larger_step():
    graphs, _, _ = runner()
    graphs(decode(4), STORE)
    graphs(decode(3, seed=7), STORE)
    padding = graphs._graphs[4].hidden_NE[3]
    assert padding[:4].tolist() == [0, 0, SCRATCH, 0]


def test_narrower_tables_leave_no_trace_of_wider_ones():
    graphs, model, _ = runner()
    graphs(decode(2, columns=8), STORE)
    rows = decode(2, seed=3, columns=1)
    assert torch.equal(graphs(rows, STORE), model.forward(rows, STORE))


@pytest.mark.parametrize("kind", ["prefill", "mixed", "too many", "padded", "wide", "other store"])
def test_other_steps_run_eagerly(kind):
    graphs, model, capture = runner(most=4)
    rows, store = decode(3), STORE
    if kind == "prefill":
        rows.q_lens, rows.kv_lens, rows.block_table_SB = [3], [9], rows.block_table_SB[:1]
    elif kind == "mixed":
        rows.q_lens, rows.kv_lens, rows.block_table_SB = [1, 2], [4, 9], rows.block_table_SB[:2]
    elif kind == "too many":
        rows = decode(5)
    elif kind == "padded":
        rows.padded_from = 2
    elif kind == "wide":
        rows = decode(3, columns=CONTEXT // PAGE + 1)
    else:
        store = SimpleNamespace(page_size=PAGE, scratch_slot=SCRATCH)
    out = graphs(rows, store)
    assert model.calls == [StepRows]
    assert not capture.at_capture
    assert torch.equal(out, model.forward(rows, store))


def test_a_failed_capture_leaves_the_steps_eager_and_says_why(caplog):
    def fail(run):
        run()
        raise RuntimeError("operation not permitted when stream is capturing")

    model = Model()
    graphs = GraphRunner(model, STORE, capture=fail)
    rows = decode(3)
    for _ in range(2):
        assert torch.equal(graphs(rows, STORE), model.forward(rows, STORE))
    assert "not permitted" in graphs.failure
    assert "not permitted" in caplog.text
    assert len(caplog.records) == 1


def test_warm_up_captures_every_bucket_largest_first():
    graphs, _, capture = runner(most=4)
    assert graphs.warm_up() == (1, 2, 4)
    assert [len(out) for out in capture.at_capture] == [4, 2, 1]


@pytest.mark.parametrize("buckets", [(), (0, 2), (4, 2), (2, 2)])
def test_bad_buckets_are_refused(buckets):
    with pytest.raises(ValueError, match="buckets: expected ascending"):
        runner(buckets=buckets)


def pretend(device="cuda", graph_safe=True, moe=False):
    backend = SimpleNamespace(name="some", graph_safe=graph_safe)
    mlp = SimpleNamespace(top_k=2) if moe else SimpleNamespace()
    return SimpleNamespace(
        device=torch.device(device),
        stack=SimpleNamespace(backend=backend),
        spec=SimpleNamespace(blocks=[SimpleNamespace(mlp=mlp)]),
    )


def test_capability_is_checked_with_a_reason():
    assert graph_refusal(pretend()) is None
    assert "CUDA device" in graph_refusal(pretend(device="cpu"))
    assert "some plans on the host" in graph_refusal(pretend(graph_safe=False))
    assert "mixture-of-experts" in graph_refusal(pretend(moe=True))
    with pytest.raises(ValueError, match="CUDA device"):
        GraphRunner(pretend(device="cpu"), STORE)
