"""Layer profiles: sums of layers, interpolation, other layer names, experts, groups of cards, bad files."""

import msgspec
import pytest

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.grid import AttentionGrid, Plane, equivalent_chunk, line
from penstock.cost.hardware import hardware
from penstock.cost.model import prefill_shape
from penstock.cost.models import model_shape
from penstock.cost.profile import ProfileCost, read_meta
from penstock.cost.shapes import ModelShape
from penstock.cost.skew import Skew
from penstock.cost.spec import load_cost

MODEL = ModelShape(name="toy", layers=4, hidden=64, query_heads=4, kv_heads=2, head_dim=16, mlp_params=1000)
MOE = ModelShape(
    name="toy-moe", layers=4, hidden=64, query_heads=4, kv_heads=2, head_dim=16, experts=8, top_k=2,
    expert_params=500, moe_layers=4,
)  # fmt: skip


def attention(chunk, context, decodes, kv):
    """Microseconds of a made-up kernel: launch, pairs, contexts read."""
    return 5 + 1e-3 * chunk * (context + chunk / 2) + 0.01 * decodes * kv


def write(folder, *, dense=None, meta="", skew=False, moe=False):
    folder.mkdir(parents=True, exist_ok=True)
    dense = dense or {"embedding": 1.0, "layernorm": 2.0, "strange_proj": 3.0, "final_layernorm": 4.0}
    rows = [f"{name},{n},{us * n}" for name, us in dense.items() for n in (1, 16, 64, 2048)]
    (folder / "dense.csv").write_text("\n".join(["layer,tokens,time_us", *rows]) + "\n")
    rows = [f"lm_head,{n},{10 + n}" for n in (1, 64, 256)]
    (folder / "per_sequence.csv").write_text("\n".join(["layer,sequences,time_us", *rows]) + "\n")
    rows = []
    for chunk in (0, 16, 32, 64, 128, 256, 512, 1024, 2048):
        for decodes in (0, 1, 2, 4, 8, 16, 32, 64, 128):
            for context in (0, 16, 256, 4096) if chunk else (0,):
                for kv in (16, 256, 4096) if decodes else (0,):
                    if chunk or decodes:
                        rows.append(
                            f"{chunk},{context},{decodes},{kv},{attention(chunk, context, decodes, kv)}"
                        )
    head = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"
    (folder / "attention.csv").write_text("\n".join([head, *rows]) + "\n")
    if meta:
        (folder / "meta.yaml").write_text(meta)
    if skew:
        head = "pc,n,kv_mean,kv_big,t_mean_us,t_max_us,t_skew_us"
        (folder / "skew.csv").write_text(f"{head}\n0,4,500,1000,25,45,30\n0,4,500,1000,25,45,35\n")
    if moe:
        rows = [f"{n},{e},{e + n}" for n in (1, 2, 4, 64) for e in (2, 4, 8) if e <= 2 * n]
        (folder / "moe.csv").write_text("\n".join(["tokens,activated_experts,time_us", *rows]) + "\n")
    return folder


def micro(cost, shape):
    return 1e6 * cost.step(shape)


def test_layers_count_once_twice_or_once_a_block(tmp_path):
    cost = ProfileCost(write(tmp_path), MODEL)
    shape = PlanShape(8, 8, 8, 0, 8 * 256, 0, 8, 0, 256)
    dense = 8 * (1.0 + 4.0 + 4 * (2 * 2.0 + 3.0))
    assert micro(cost, shape) == pytest.approx(dense + 18 + 4 * attention(0, 0, 8, 256))


@pytest.mark.parametrize("decodes", [0, 3, 50])
@pytest.mark.parametrize(("chunk", "context"), [(16, 0), (100, 300), (700, 1000), (1900, 0)])
def test_between_grid_points_an_affine_kernel_is_met(tmp_path, chunk, context, decodes):
    """Pairs are interpolated as pairs: a chunk between two measured ones is not over-estimated."""
    cost = ProfileCost(write(tmp_path), MODEL)
    pairs = chunk * context + chunk * (chunk + 1) // 2
    shape = PlanShape(chunk + decodes, decodes + 1, decodes, chunk, decodes * 777, pairs, 0, context, 777)
    wanted = (chunk + decodes) * 33.0 + 4 * attention(chunk, context, decodes, 777)
    assert micro(cost, shape) == pytest.approx(wanted, rel=2e-3)


def test_several_prompts_in_a_step_are_not_one_long_prompt(tmp_path):
    cost = ProfileCost(write(tmp_path), MODEL)
    one = prefill_shape(0, 2000)
    four = PlanShape(2000, 4, 0, 2000, 0, 4 * 500 * 501 // 2, 1)
    assert micro(cost, one) - micro(cost, four) == pytest.approx(
        4 * 1e-3 * (2000**2 - 4 * 500**2) / 2, rel=0.01
    )


def test_equivalent_chunks_have_the_same_pairs():
    for tokens, pairs in [(100, 5050), (100, 9000), (100, 700)]:
        chunk, context = equivalent_chunk(tokens, pairs)
        assert chunk * context + chunk * (chunk + 1) / 2 == pytest.approx(pairs) and chunk <= tokens


def test_graph_sizes_round_rows_up(tmp_path):
    padded = ProfileCost(write(tmp_path), MODEL, graph_sizes=(1, 8, 16))
    exact = ProfileCost(tmp_path, MODEL)
    five, eight, twenty = (PlanShape(n, n, n, 0, 0, 0, 0) for n in (5, 8, 20))
    rise = micro(exact, eight) - micro(exact, five)
    assert micro(padded, five) - micro(exact, five) == pytest.approx(3 * 33.0) and rise > 0
    assert padded.step(twenty) == exact.step(twenty)


def test_unequal_contexts_cost_a_share_where_the_profile_says_so(tmp_path):
    enabled = "model: x\nskew_fit:\n  enabled: true\n  bucket_axes:\n    pc: raw\n"
    even, uneven = (PlanShape(4, 4, 4, 0, 2000, 0, 0, 0, longest) for longest in (500, 1000))
    on = ProfileCost(write(tmp_path / "on", meta=enabled, skew=True), MODEL)
    off = ProfileCost(write(tmp_path / "off", meta=enabled.replace("true", "false"), skew=True), MODEL)
    assert on.step(even) == off.step(even) == off.step(uneven)
    # Two measurements, a quarter and half of the way from 25 to 45: alpha is 3/8.
    assert micro(on, uneven) - micro(on, even) == pytest.approx(4 * 3 / 8 * 0.01 * 4 * 500)
    assert Skew([]).alpha(0, 4, 500, 1000) == 0


def test_experts_are_read_as_rows_touch_them(tmp_path):
    cost = ProfileCost(write(tmp_path, moe=True), MOE)
    dense = ProfileCost(tmp_path, MODEL)
    for rows, active in ((1, 2.0), (64, 8.0)):
        shape = PlanShape(rows, rows, rows, 0, 0, 0, 0)
        assert micro(cost, shape) - micro(dense, shape) == pytest.approx(4 * (active + rows), rel=0.01)


def test_experts_are_found_beside_the_folder_of_a_group(tmp_path):
    write(tmp_path / "tp1", moe=True)
    write(tmp_path / "tp2")
    card, shape = hardware("h100"), prefill_shape(0, 64)
    assert (
        ProfileCost(tmp_path, MOE, card, 2).step(shape)
        == ProfileCost(tmp_path / "tp2", MOE, card, 2).step(shape)
    )  # fmt: skip


def test_a_group_of_cards_has_its_folder_and_pays_for_the_link(tmp_path):
    write(tmp_path / "tp1")
    write(tmp_path / "tp2", dense={"strange_proj": 1.0})
    one, two = ProfileCost(tmp_path, MODEL), ProfileCost(tmp_path, MODEL, hardware("h100"), tp=2)
    shape = PlanShape(64, 64, 64, 0, 0, 0, 0)
    link = hardware("h100")
    moved = 2 * 4 * (link.link_latency + 64 * 64 * 2.0 / (link.link * link.link_efficiency)) * 1e6
    assert micro(two, shape) == pytest.approx(micro(one, shape) - 64 * (33.0 - 4.0) + moved)
    with pytest.raises(ConfigError, match="2 cards need a hardware row"):
        ProfileCost(tmp_path, MODEL, tp=2)


def test_beyond_the_tables_time_goes_on_rising(tmp_path):
    cost = ProfileCost(write(tmp_path), MODEL)
    times = [cost.step(prefill_shape(0, n)) for n in (2048, 4096, 8192, 9000, 20000)]
    assert times == sorted(times) and times[-1] > 2 * times[-2]


def test_a_spec_takes_the_model_from_the_profile(tmp_path):
    folder = write(tmp_path / "p", meta="gpu: Some Card\nmodel: meta-llama/Llama-3.1-8B\ntp_degrees: [1]\n")
    assert read_meta(folder)["gpu"] == "Some Card"
    assert load_cost(f"table:{folder}").describe() == "layer timings of llama-3.1-8b from p"
    fewer = load_cost(f"table:{folder}@h100,layers=2,model=llama-3.1-8b")
    assert fewer.step(prefill_shape(0, 64)) < load_cost(f"table:{folder}").step(prefill_shape(0, 64)) / 8


@pytest.mark.parametrize("name", ["dense.csv", "per_sequence.csv", "attention.csv"])
def test_what_is_wrong_with_a_folder_is_said(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=f"{name} lacks the column"):
        ProfileCost(tmp_path, MODEL)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        ProfileCost(tmp_path, MODEL)


def test_numbers_that_are_none_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "dense.csv").write_text("layer,tokens,time_us\nx,1,fast\n")
    with pytest.raises(ConfigError, match="is not a layer profile"):
        ProfileCost(tmp_path, MODEL)


def test_lines_and_planes_extend_beyond_their_ends():
    assert line([(2, 4.0), (4, 8.0)], 6) == [4.0, 4.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    with pytest.raises(ValueError):
        line([], 3)
    ragged = Plane({(0, 0): 0.0, (0, 2): 2.0, (4, 0): 4.0})
    assert ragged.at(0, 3) == 3.0 and ragged.at(2, 0) == 2.0 and ragged.at(4, 9) == 4.0
    with pytest.raises(ValueError):
        AttentionGrid({(0, 0, 1, 16): 1.0})


def test_the_model_of_the_data_is_known():
    assert model_shape("meta-llama/Llama-3.1-8B").layers == 32


@pytest.mark.parametrize("model", [MODEL, MOE])
def test_a_cohort_passes_its_layers_only(tmp_path, model):
    """One of four layers with 200 prompt rows and 8 decodes, three with the decodes."""
    cost = ProfileCost(write(tmp_path, moe=True), model)
    pairs = 200 * 201 // 2
    step = PlanShape(208, 9, 8, 200, 8 * 256, pairs, 0, 0, 256)
    whole, decodes = micro(cost, step), micro(cost, PlanShape(8, 8, 8, 0, 8 * 256, 0, 0, 0, 256))
    layered = micro(cost, msgspec.structs.replace(step, cohort_tokens=200, cohort_layers=1))
    assert decodes < layered < decodes + 0.35 * (whole - decodes) + 200 * 5.0
    everywhere = msgspec.structs.replace(step, cohort_tokens=200, cohort_layers=4)
    assert micro(cost, everywhere) == pytest.approx(whole)


def test_layers_that_nothing_passes_take_no_time(tmp_path):
    """A cohort alone, in four groups of one layer: once through, but for what runs once per step."""
    cost = ProfileCost(write(tmp_path), MODEL)
    alone = msgspec.structs.replace(prefill_shape(0, 200), samples=0)
    groups = 4 * micro(cost, msgspec.structs.replace(alone, cohort_tokens=200, cohort_layers=1))
    again = 3 * 200 * 5.0
    assert groups - again == pytest.approx(micro(cost, alone), abs=4 * 4 * 10)
