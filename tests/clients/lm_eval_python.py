"""EleutherAI's lm-eval. `pip install 'lm-eval[api]'`, then `python lm_eval_python.py --base-url URL`.

Runs local tasks through `local-completions` (loglikelihood, rolling too, and generation; prompts are sent as
token ids, tokenised by the server) and through `local-chat-completions` (generation).
"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import lm_eval
from harness import Checks
from lm_eval.tasks import TaskManager

check = Checks("lm-eval")
HERE = Path(__file__).resolve().parent / "lm_eval_tasks"
os.environ.setdefault("OPENAI_API_KEY", check.key)
os.chdir(HERE)  # the tasks name their data relatively
TASKS = TaskManager(include_path=str(HERE), include_defaults=False)


def run(kind, path, tasks, **more):
    asked = {"model": check.model, "base_url": f"{check.api}/{path}", "max_retries": 1, "num_concurrent": 2}
    found = lm_eval.simple_evaluate(
        model=kind, model_args=asked, tasks=tasks, task_manager=TASKS, bootstrap_iters=0, **more
    )
    return found["results"]


@check
def completions_loglikelihood():
    first, second = (
        run("local-completions", "completions", ["penstock_choice"])["penstock_choice"] for _ in range(2)
    )
    assert first["acc,none"] == second["acc,none"] >= 0.5  # two in four is what guessing would give


@check
def completions_loglikelihood_of_texts():
    found = run("local-completions", "completions", ["penstock_text"])["penstock_text"]
    assert 0 < found["bits_per_byte,none"] < 8


@check
def completions_generate_until():
    found = run("local-completions", "completions", ["penstock_generate"])
    assert 0 <= found["penstock_generate"]["exact_match,none"] <= 1


@check
def chat_completions_generate_until():
    found = run("local-chat-completions", "chat/completions", ["penstock_generate"], apply_chat_template=True)
    assert 0 <= found["penstock_generate"]["exact_match,none"] <= 1


check.end()
