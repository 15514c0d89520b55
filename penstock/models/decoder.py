"""The one decoder: every family is this forward, driven by its `ModelSpec`.

Legend: N rows of the step, E hidden, W embedding width, V vocabulary, R sampled rows, H query heads,
D head dim, I inner width.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnPlan
from penstock.kernels.attention.layer import StepAttention, attend_layer, store_heads
from penstock.kernels.compile import AttentionStack
from penstock.kernels.heads import HeadPrep, Turn
from penstock.kernels.ops import Ops, Weight
from penstock.kernels.rows import StepRows
from penstock.kernels.store import KVStore
from penstock.models.pack import nbytes
from penstock.models.params import BlockParams, ModelParams
from penstock.models.rope import RopeTable
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, MoeSpec, NormSpec


class Decoder:
    """A loaded model: weights, operations and attention axes.

    Args:
        spec: the model.
        params: its weights, all on one device and of one dtype.
        stack: compiled attention axes.
        ops: dense operations.
        context: longest sequence that will be run, in tokens; fixes rotary frequencies that depend on it.
        identity: changes when the weights do; part of the fingerprint.
    """

    def __init__(
        self,
        spec: ModelSpec,
        params: ModelParams,
        stack: AttentionStack,
        ops: Ops,
        context: int,
        identity: str = "",
    ) -> None:
        self.spec = spec
        self.context = context
        self.stack = stack
        self.ops = ops
        self.device = stack.device
        self.dtype = stack.dtype
        self._params = params
        # In the model's dtype, as the models were trained.
        self._embed_scale = torch.tensor(spec.embed_scale, dtype=stack.dtype, device=stack.device)
        self._ropes = [RopeTable(rope, context, stack.device) for rope in spec.ropes]
        self._prepare = [
            stack.heads(layer, HeadPrep(block.q_norm, block.k_norm, spec.norm.eps, spec.norm.offset), ops)
            for layer, block in zip(spec.layers, params.blocks, strict=True)
        ]

        told = repr((spec, context, stack.fingerprint, identity))
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()[:16]
        """Salt of the prefix cache: stored KV may be shared only between decoders of equal fingerprint."""

    @property
    def width(self) -> int:
        """Length of a row of `forward`'s result."""
        return int(self._params.head.shape[1])

    def weight_bytes(self) -> int:
        """Return the bytes of all weights and rotary tables; a tied head counts once."""
        params = self._params
        parts = [params.embed, params.positions, params.project_in]
        parts += [params.project_out, params.final, params.final_bias]
        if params.head is not params.embed:
            parts.append(params.head)
        for block in params.blocks:
            parts += [getattr(block, slot) for slot in BlockParams.__dataclass_fields__]
        return sum(nbytes(part) for part in parts) + sum(table.nbytes() for table in self._ropes)

    def kv_bytes_per_block(self, page_size: int) -> int:
        """Return the bytes of one page over all layers."""
        return self.stack.bytes_per_token * page_size

    def new_kv(self, blocks: int, page_size: int) -> KVStore:
        """Allocate a paged store (see `KVStore`).

        Raises:
            ConfigError: the attention backend cannot work with this page size.
        """
        return self.stack.new_store(blocks, page_size)

    def plan(self, rows: StepRows, page_size: int) -> AttnPlan:
        """Return the attention plan of a step; `forward` makes it itself unless it is given one."""
        return self.stack.backend.plan(rows, page_size)

    @torch.inference_mode()
    def forward(self, rows: StepRows, kv: KVStore, plan: AttnPlan | None = None) -> Tensor:
        """Compute the rows, storing their keys and values.

        Args:
            rows: the step.
            kv: the store that the block tables refer to.
            plan: an attention plan made before (captured graphs); made here if not given.

        Returns:
            Hidden states after the final norm, ``[N, W]`` (W is E but for models that project out). Rows that
            the row planner left out on the way are zero.
        """
        step = self._begin(rows, kv, plan)
        x_NE, kept_M = self.embed(rows), None
        layer_rows = self.stack.planner.plan(rows, len(self.spec.blocks))
        for block, params, wanted in zip(self.spec.blocks, self._params.blocks, layer_rows, strict=True):
            if wanted.keep_M is None:
                x_NE = self._block(x_NE, block, params, step)
                continue
            step.plan = self.plan(wanted.queries, kv.page_size)
            x_NE = self._block(x_NE, block, params, step, wanted.keep_M)
            step.kv_slots_N = wanted.queries.kv_slots_N[: wanted.queries.padded_from]
            step.turns = [Turn(cos_NR[wanted.keep_M], sin_NR[wanted.keep_M]) for cos_NR, sin_NR in step.turns]
            kept_M = wanted.keep_M if kept_M is None else kept_M[wanted.keep_M]
        x_NE = self.finish(x_NE)
        if kept_M is None:
            return x_NE
        return x_NE.new_zeros(rows.tokens_N.shape[0], x_NE.shape[1]).index_copy_(0, kept_M, x_NE)

    @torch.inference_mode()
    def pass_layers(self, x_NE: Tensor, rows: StepRows, kv: KVStore, first: int, stop: int) -> Tensor:
        """Take all rows through layers ``[first, stop)``, storing their keys and values there.

        ``finish(pass_layers(embed(rows), rows, kv, 0, layers))`` is `forward` under the row planner ``all``.

        Args:
            x_NE: hidden states of the rows before layer ``first``.
            rows: the rows, which need not be the whole step's.
            kv: the store that the block tables refer to.
            first: first layer.
            stop: the layer after the last one.
        """
        step = self._begin(rows, kv, None)
        for block, params in zip(self.spec.blocks[first:stop], self._params.blocks[first:stop], strict=True):
            x_NE = self._block(x_NE, block, params, step)
        return x_NE

    @torch.inference_mode()
    def finish(self, x_NE: Tensor) -> Tensor:
        """Return what `logits` takes, ``[N, W]``: the final norm, and the way out of a narrower embedding."""
        if self.spec.final_norm:
            x_NE = self._norm(self.spec.norm, x_NE, self._params.final, self._params.final_bias)
        if self._params.project_out is not None:
            x_NE = self.ops.linear(x_NE, self._params.project_out)
        return x_NE

    def _begin(self, rows: StepRows, kv: KVStore, plan: AttnPlan | None) -> StepAttention:
        """Return what the attention layers share."""
        for table in self._ropes:
            table.reach(max(rows.kv_lens, default=1))
        turns = [table.at(rows.positions_N) for table in self._ropes]
        plan = plan or self.plan(rows, kv.page_size)
        return StepAttention(self.stack, kv, plan, rows.kv_slots_N[: rows.padded_from].contiguous(), turns)

    @torch.inference_mode()
    def logits(self, hidden_RW: Tensor) -> Tensor:
        """Return float32 logits ``[R, V]`` of rows of `forward`'s result."""
        logits_RV = self.ops.head(hidden_RW, self._params.head)
        if self.spec.logit_softcap is not None:
            logits_RV = self.ops.softcap(logits_RV, self.spec.logit_softcap)
        return logits_RV

    @torch.inference_mode()
    def embed(self, rows: StepRows) -> Tensor:
        """Return the hidden states of the rows before the first layer, ``[N, E]``."""
        x_NE = self.ops.lookup(rows.tokens_N, self._params.embed)
        if self._params.project_in is not None:
            x_NE = self.ops.linear(x_NE, self._params.project_in)
        if self.spec.embed_scale != 1.0:
            x_NE = x_NE * self._embed_scale
        if self._params.positions is not None:
            places_N = rows.positions_N + self.spec.position_offset
            x_NE = x_NE + self._params.positions.index_select(0, places_N)
        return x_NE

    def _block(
        self,
        x_NE: Tensor,
        block: BlockSpec,
        params: BlockParams,
        step: StepAttention,
        keep_M: Tensor | None = None,
    ) -> Tensor:
        """One block: attention and feed-forward, each with norms at the sites that the spec names."""
        layer = block.attention
        heads_NI = self.ops.linear(self._site("attn_in", x_NE, params), params.qkv, params.qkv_bias)
        q_NHD = store_heads(layer, self._prepare[layer.index], heads_NI, block.rope, step)
        if keep_M is not None:
            x_NE, q_NHD = x_NE[keep_M], q_NHD[keep_M]
        out_NHD = attend_layer(layer, q_NHD, step)
        sum_NE = self._add("attn_out", x_NE, out_NHD.flatten(1), params.out, params.out_bias, params)
        if self.spec.parallel:
            return self._feed(self._site("mlp_in", x_NE, params), sum_NE, block, params)
        x_NE = self._site("attn_sum", sum_NE, params)
        return self._site(
            "mlp_sum", self._feed(self._site("mlp_in", x_NE, params), x_NE, block, params), params
        )

    def _add(
        self,
        site: str,
        residual_NE: Tensor,
        x_NI: Tensor,
        weight_EI: Weight,
        bias_E: Tensor | None,
        params: BlockParams,
    ) -> Tensor:
        """Return the residual stream plus a product, normed where the spec has a norm between them."""
        if site in self.spec.norm_sites:
            return residual_NE + self._site(site, self.ops.linear(x_NI, weight_EI, bias_E), params)
        return self.ops.linear(x_NI, weight_EI, bias_E, residual_NE)

    def _site(self, site: str, x_NE: Tensor, params: BlockParams) -> Tensor:
        if site not in self.spec.norm_sites:
            return x_NE
        return self._norm(self.spec.norm, x_NE, getattr(params, site), getattr(params, f"{site}_bias"))

    def _norm(self, norm: NormSpec, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if norm.kind == "layer":
            return self.ops.layer_norm(x, weight, bias, norm.eps)
        assert weight is not None
        return self.ops.rms_norm(x, weight, norm.eps, norm.offset)

    def _feed(self, x_NE: Tensor, residual_NE: Tensor, block: BlockSpec, params: BlockParams) -> Tensor:
        """Return the residual stream plus the feed-forward of ``x_NE``."""
        mlp = block.mlp
        if isinstance(mlp, MlpSpec):
            assert params.up is not None and params.down is not None
            if mlp.gated:
                mid_NF = self.ops.gated_linear(mlp.act, x_NE, params.up, params.up_bias)
            else:
                mid_NF = self.ops.activate(mlp.act, self.ops.linear(x_NE, params.up, params.up_bias))
            return self._add("mlp_out", residual_NE, mid_NF, params.down, params.down_bias, params)
        return residual_NE + self._site("mlp_out", self._mix(x_NE, mlp, params), params)

    def _mix(self, x_NE: Tensor, mlp: MoeSpec, params: BlockParams) -> Tensor:
        """Return the weighted sum of each row's experts, and of the shared one."""
        assert params.router is not None and params.experts_up is not None and params.experts_down is not None
        logits_NX = self.ops.linear(x_NE, params.router)
        weights_NK, ids_NK = self.ops.route(logits_NX, mlp.top_k, mlp.renormalise)
        out_NE = self.ops.experts(x_NE, weights_NK, ids_NK, params.experts_up, params.experts_down, mlp.act)
        if params.shared_up is None or params.shared_down is None or params.shared_gate is None:
            return out_NE
        shared_NF = self.ops.gated_linear(mlp.act, x_NE, params.shared_up)
        shared_NE = self.ops.linear(shared_NF, params.shared_down)
        gate_N1 = self.ops.activate("sigmoid", self.ops.linear(x_NE, params.shared_gate))
        return out_NE + gate_N1 * shared_NE
