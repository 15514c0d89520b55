"""How the llama.cpp adapter puts batches together, on a library that only checks what it is fed."""

import ctypes
import importlib.util
import sys
import types
from pathlib import Path

import pytest

ADAPTERS = Path(__file__).parents[2] / "benchmarks" / "peers" / "adapters"
VOCAB = 50


class Batch:
    def __init__(self, size):
        self.n_tokens = 0
        self.token, self.pos, self.n_seq_id, self.logits = ([0] * size for _ in range(4))
        self.seq_id = [[0] for _ in range(size)]


class Library(types.ModuleType):
    """Keeps the tokens of every sequence; a token's logits are highest for its successor."""

    LLAMA_FTYPE_MOSTLY_BF16, LLAMA_FTYPE_MOSTLY_Q8_0, LLAMA_FTYPE_MOSTLY_Q4_0 = 32, 7, 2

    def __init__(self):
        super().__init__("llama_cpp")
        self.cells, self.sizes, self.rows = {}, [], {}
        self.llama_backend_init = lambda: None
        self.llama_model_default_params = self.llama_context_default_params = types.SimpleNamespace
        self.llama_model_load_from_file = lambda path, params: path
        self.llama_init_from_model = self._context
        self.llama_get_memory = self.llama_model_get_vocab = lambda one: one
        self.llama_vocab_n_tokens = lambda vocab: VOCAB
        self.llama_batch_init = lambda size, embd, seqs: Batch(size)
        self.llama_print_system_info = lambda: b"fake"

    def _context(self, model, params):
        self.params = params
        return "context"

    def llama_memory_seq_rm(self, memory, seq, begin, end):
        self.cells[seq] = self.cells.get(seq, [])[:begin]

    def llama_decode(self, context, batch):
        self.rows = {}
        self.sizes.append(batch.n_tokens)
        for index in range(batch.n_tokens):
            (seq,) = batch.seq_id[index]
            held = self.cells.setdefault(seq, [])
            assert batch.pos[index] == len(held), "positions follow each other"
            held.append(batch.token[index])
            if batch.logits[index]:
                self.rows[index] = (batch.token[index] + 1) % VOCAB
        return 0

    def llama_get_logits_ith(self, context, index):
        values = (ctypes.c_float * VOCAB)()
        values[self.rows[index]] = 1.0
        return ctypes.cast(values, ctypes.POINTER(ctypes.c_float))


@pytest.fixture
def adapter(monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, "llama_cpp", library)
    monkeypatch.syspath_prepend(str(ADAPTERS))
    spec = importlib.util.spec_from_file_location("adapter_llamacpp", ADAPTERS / "run_llamacpp.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "adapter_llamacpp", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STEP_TOKENS", 8)
    settings = {"kv_tokens": 100, "requests": 300, "threads": 2, "extra": {"n_ubatch": 4}}
    return library, module.LlamaCpp("folder", settings)


def test_prompts_are_fed_in_chunks_beside_running_sequences(adapter):
    library, engine = adapter
    assert (library.params.n_seq_max, library.params.n_threads, library.params.n_ubatch) == (256, 2, 4)
    requests = [{"prompt": [1, 2, 3], "output": 4}, {"prompt": list(range(10, 22)), "output": 2}]
    done = engine.run(requests)
    assert [one.tokens for one in done] == [4, 2] and all(len(one.times) == one.tokens for one in done)
    # The last token sampled is never fed.
    assert library.cells == {0: [1, 2, 3, 4, 5, 6], 1: [*range(10, 22), 22]}
    assert library.sizes == [8, 8, 2, 1]


def test_a_sequence_keeps_the_part_of_its_prompt_that_it_has(adapter):
    library, engine = adapter
    engine.run([{"prompt": [1, 2, 3, 4], "output": 2}])
    library.sizes.clear()
    engine.run([{"prompt": [1, 2, 3, 9], "output": 1}])
    assert library.sizes == [1] and library.cells[0] == [1, 2, 3, 9]
    library.sizes.clear()
    engine.run([{"prompt": [1, 2, 3, 9], "output": 1}])
    assert library.sizes == [1], "the last token of a prompt is fed even if it is there"
