"""A naive sampler for one row, in plain Python: what the vectorised one must equal."""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
F32 = np.float32


def _mix(x):
    x %= 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def gumbel(seed, position, token):
    key = _mix(_mix(seed + GOLDEN) + (position + 1) * GOLDEN)
    u = ((_mix(key + (token + 1) * GOLDEN) >> 12) + 0.5) * 2.0**-52
    return -math.log(-math.log(u))


def adjusted(logits, tokens, prompt_length, sp, eos):
    """Penalties, bias, masks, one token at a time; float32 like the real thing."""
    out = [F32(x) for x in logits]
    generated = tokens[prompt_length:]
    for v in range(len(out)):
        if sp.repetition_penalty != 1 and v in tokens:
            p = F32(sp.repetition_penalty)
            out[v] = out[v] / p if out[v] > 0 else out[v] * p
        count = generated.count(v)
        if count:
            out[v] = out[v] - F32(count * sp.frequency_penalty + sp.presence_penalty)
        if v in sp.logit_bias:
            out[v] = out[v] + F32(sp.logit_bias[v])
        if sp.allowed_token_ids is not None and v not in sp.allowed_token_ids:
            out[v] = F32(-math.inf)
        for word in sp.bad_words:
            begun = list(word[:-1])
            if word[-1] == v and (not begun or tokens[-len(begun) :] == begun):
                out[v] = F32(-math.inf)
        if len(generated) < sp.min_tokens and v in (*eos, *sp.stop_token_ids):
            out[v] = F32(-math.inf)
    return out


def kept(logits, sp):
    """Tokens that top_k, top_p and min_p leave, and how close the closest decision was."""
    alive = [v for v, x in enumerate(logits) if x > -math.inf]
    best = max(float(logits[v]) for v in alive)
    close = math.inf
    weight = {v: math.exp((float(logits[v]) - best) / sp.temperature) for v in alive}
    if sp.top_k > 0:
        alive = [v for v in alive if sum(logits[w] > logits[v] for w in alive) < sp.top_k]
    if sp.top_p < 1:
        total = math.fsum(weight[v] for v in alive)
        before = {v: math.fsum(weight[w] for w in alive if logits[w] > logits[v]) / total for v in alive}
        close = min(close, *(abs(before[v] - sp.top_p) for v in alive))
        alive = [v for v in alive if before[v] < sp.top_p]
    if sp.min_p > 0:
        close = min(close, *(abs(math.log(weight[v] / sp.min_p)) if weight[v] else 1 for v in alive))
        alive = [v for v in alive if weight[v] >= sp.min_p]
    return alive, close


def choose(logits, tokens, prompt_length, sp, eos=()):
    """The token at position ``len(tokens)``; None if the masks leave nothing; also the closest decision."""
    logits = adjusted(logits, tokens, prompt_length, sp, eos)
    if max(logits) == -math.inf:
        return None, math.inf
    if sp.temperature == 0:
        return int(np.argmax(logits)), math.inf
    alive, close = kept(logits, sp)
    score = {v: float(logits[v]) / sp.temperature + gumbel(sp.seed, len(tokens), v) for v in alive}
    return max(score, key=score.__getitem__), close
