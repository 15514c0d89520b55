"""The schedule: stages end by steps or by time, and the learning rate reaches its floor either way."""

import pytest

from penstock.zoo.recipes import CHAT, RECIPES, Recipe, Stage
from penstock.zoo.schedule import Progress, learning_rate

TWO = Recipe(
    "two", CHAT.shape, (Stage(2, 8, 10, 1.0, 0.1, share=0.25), Stage(1, 16, 30, 0.1, 0.0, share=0.75))
)


def _walk(seconds: float, minutes: float | None) -> list[tuple[int, float]]:
    progress, seen = Progress(), []
    while not progress.done(TWO):
        seen.append((progress.stage, progress.share(TWO, minutes)))
        progress.advance(TWO, seconds, minutes)
    assert progress.tokens == 16 * len(seen)
    assert progress.overall(TWO, minutes) == 1.0
    return seen


def test_without_a_limit_steps_decide() -> None:
    assert [stage for stage, _ in _walk(100.0, None)] == [0] * 10 + [1] * 30


def test_with_a_limit_each_stage_gets_its_share_of_the_time() -> None:
    seen = _walk(1.0, 16 / 60)
    assert [stage for stage, _ in seen] == [0] * 4 + [1] * 12
    assert [share for stage, share in seen if stage == 1] == [pytest.approx(i / 12) for i in range(12)]


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    assert _walk(1.0, 60.0) == _walk(1.0, None)


def test_a_suspended_process_loses_no_time() -> None:
    progress = Progress()
    for seconds in (60.0, 1.0, 1.0, 3600.0):
        progress.advance(TWO, seconds, 100.0)
    assert progress.seconds == pytest.approx(60 + 1 + 1 + 6)


def test_the_learning_rate_warms_up_and_falls_to_the_floor() -> None:
    stage = TWO.stages[0]
    assert learning_rate(stage, 0.0, 0, 10) == pytest.approx(0.1)
    assert learning_rate(stage, 0.0, 9, 10) == pytest.approx(1.0)
    rates = [learning_rate(stage, share / 10, 99, 10) for share in range(11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_stage_of_every_recipe_gets_time(recipe: Recipe) -> None:
    shares = [recipe.time_share(number) for number in range(len(recipe.stages))]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0.02
