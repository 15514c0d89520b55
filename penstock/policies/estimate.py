"""How long a request would take alone on an engine, for policies that weigh urgency against speed."""

from __future__ import annotations

from penstock.core.plan import PlanShape
from penstock.core.policy import StepCost
from penstock.core.request import RequestSpec
from penstock.cost.model import prefill_shape


def alone_seconds(cost: StepCost | None, spec: RequestSpec) -> float:
    """Return the seconds of a request that has the engine to itself; 0 if step times are not known.

    Its answer is taken to be `RequestSpec.length_score` tokens long, so the prediction must be in tokens;
    without one only the prompt counts.
    """
    if cost is None:
        return 0.0
    prompt, answer = len(spec.prompt_ids), spec.length_score or 0.0
    seconds = cost.step(prefill_shape(0, prompt))
    if answer > 1:
        context = prompt + int(answer) // 2
        decode = PlanShape(1, 1, 1, 0, context, 0, 1, 0, context)
        seconds += (answer - 1) * cost.step(decode)
    return seconds
