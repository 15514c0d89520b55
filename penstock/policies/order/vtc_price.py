"""What service costs: a price in service units for prompt and generated tokens."""

from __future__ import annotations

from collections.abc import Callable

Price = Callable[[int, int], float]
"""Called with (input tokens, output tokens); returns the service units of a request that far."""


def linear(input_price: float, output_price: float) -> Price:
    """Return a price per token.

    Raises:
        ValueError: a price below zero, or both zero.
    """
    if input_price < 0 or output_price < 0 or input_price + output_price == 0:
        raise ValueError(f"prices must be positive, got {input_price!r} and {output_price!r}")
    return lambda prompt, output: input_price * prompt + output_price * output


def profile(prompt: int, output: int) -> float:
    """Return the cost that VTC's artifact fitted for Llama-2-7B on an A10G (service units, not seconds)."""
    return 0.21 * prompt + output * (0.1008 + 0.00399 * prompt + 0.003247 * output) + 1.146
