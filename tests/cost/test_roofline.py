"""The roofline's regimes, its experts, its parallel degrees, and the memory it leaves for KV."""

import msgspec
import pytest

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.hardware import Hardware, hardware
from penstock.cost.model import prefill_shape
from penstock.cost.models import CONFIGS, model_shape
from penstock.cost.roofline import Roofline, distinct_experts, kv_blocks


def roofline(**changes):
    return Roofline(model_shape("llama-3.1-8b"), Hardware(**({"flops": 1e15, "bandwidth": 4.8e12} | changes)))


def decode(sequences, context=1000):
    return PlanShape(sequences, sequences, sequences, 0, sequences * context, 0, sequences, 0, context)


def test_decode_is_bound_by_bytes_and_prefill_by_arithmetic():
    assert roofline().step(decode(8)) < 1.2 * roofline().step(decode(1)), "weights are read once for a batch"
    prompt = prefill_shape(0, 4096)
    assert roofline(flops=2e15).step(prompt) < 0.6 * roofline().step(prompt)
    bandwidth_free = roofline(bandwidth=1e13).step(prompt)
    assert bandwidth_free == pytest.approx(roofline().step(prompt), rel=0.02), "only activations still travel"


def test_a_lone_decode_reads_every_weight_and_its_kv():
    """By hand: (8.03e9 - embedding) parameters at 2 bytes, and 1000 x 128 KiB, at 80 % of 4.8 TB/s."""
    weights = 2 * (32 * (4096 * 128 * 2 * 40 + 3 * 4096 * 14336) + 128256 * 4096)
    wanted = 2e-4 + (weights + 1000 * 131072) / (0.8 * 4.8e12)
    assert roofline().step(decode(1)) == pytest.approx(wanted, rel=0.01)


def test_only_sampled_rows_pass_the_head():
    head = 2 * 128256 * 4096 / (0.8 * 4.8e12)
    whole, partial = prefill_shape(0, 256), msgspec.structs.replace(prefill_shape(0, 256), samples=0)
    assert roofline().step(whole) - roofline().step(partial) == pytest.approx(head)


def test_distinct_experts_of_the_sheet():
    """Qwen3-30B-A3B: 8 of 128 experts a row; 1, 8, 16, 32 and 64 rows touch so many."""
    assert [round(distinct_experts(n, 128, 8)) for n in (1, 8, 16, 32, 64)] == [8, 52, 82, 112, 126]


def test_layered_prefill_saves_expert_traffic_at_small_decode_batches_only():
    """16 groups of an 8192-token cohort against 16 chunks of 512, beside d decodes (the paper's case)."""
    cost = Roofline(model_shape("qwen3-30b-a3b"), hardware("h100"))

    def ratio(d):
        kv, pairs = d * 500, 8192 * 8193 // 2
        chunks = sum(
            cost.step(PlanShape(512 + d, d + 1, d, 512, kv, 512 * at + 512 * 513 // 2, d, at, 500))
            for at in range(0, 8192, 512)
        )
        group = PlanShape(8192 + d, d + 1, d, 8192, kv, pairs, d, 0, 500, 8192, 3)
        return 16 * cost.step(group) / chunks

    assert ratio(4) < 0.9 and ratio(4) < ratio(16) < ratio(64)


def test_a_cohort_in_all_layers_is_a_prefill():
    cost, shape = roofline(), prefill_shape(0, 512)
    assert cost.step(msgspec.structs.replace(shape, cohort_tokens=512, cohort_layers=32)) == cost.step(shape)


def test_two_cards_are_faster_and_pay_for_the_link():
    model, card = model_shape("llama-3.1-70b"), hardware("h100")
    one, two = Roofline(model, card), Roofline(model, card, tp=2)
    assert 0.5 * one.step(decode(64)) < two.step(decode(64)) < 0.7 * one.step(decode(64))
    slow = Roofline(model, msgspec.structs.replace(card, link=1e9), tp=2)
    assert slow.step(prefill_shape(0, 2048)) > 3 * two.step(prefill_shape(0, 2048))
    with pytest.raises(ConfigError):
        Roofline(model, card, tp=0)


def test_windows_bound_what_decodes_read():
    model = model_shape("gpt-oss-20b")
    assert (model.window, model.window_layers) == (128, 12)
    full = Roofline(msgspec.structs.replace(model, window=0, window_layers=0), hardware("h100"))
    cut = Roofline(model, hardware("h100"))
    assert cut.step(decode(64, 8000)) < 0.8 * full.step(decode(64, 8000))
    assert cut.step(decode(64, 100)) == full.step(decode(64, 100))


def test_kv_blocks_fill_what_the_weights_leave():
    blocks = kv_blocks(hardware("a100-80g"), model_shape("llama-3.1-8b"))
    wanted = (0.9 * 80e9 - 1e9 - model_shape("llama-3.1-8b").weight_bytes) / (131072 * 16)
    assert blocks == int(wanted)
    with pytest.raises(ConfigError, match="leaves no room"):
        kv_blocks(hardware("t4"), model_shape("llama-3.1-8b"))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_more_work_never_takes_less(name):
    cost = Roofline(model_shape(name), hardware("a100"), tp=2)
    steps = [cost.step(decode(n)) for n in (1, 2, 8, 64, 256)]
    assert steps == sorted(steps) and steps[0] > 0
    prompts = [cost.step(prefill_shape(0, n)) for n in (1, 16, 128, 2048, 9000)]
    assert prompts == sorted(prompts)
