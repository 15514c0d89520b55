"""A tiny random Llama on disk, and builders of real engines with planned faults."""

import torch
from fake_engine import VOCAB
from tokenizers_for_tests import fast

torch.set_num_threads(1)


def save_model(folder):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB + 4,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast().save_pretrained(folder)
    return folder


def build_poisoned(config, report):
    from penstock.engine.build import _eos_ids, assemble
    from penstock.executors.faults import FailFor
    from penstock.executors.inline import build_executor

    executor = build_executor(config, fault=FailFor("poisoned"))
    return assemble(config, executor, eos_ids=_eos_ids(executor))
