"""What tenants and keys may use: requests and tokens by the minute, requests at once, requests waiting.

A request takes a `Lease` before it is admitted. What it reserves is all its own or nothing is; `Lease.close`
gives back what it did not use, in whatever way the request ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from penstock.frontend.intake import Prepared
from penstock.frontend.specs import COMPLETION_TOKENS
from penstock.server.errors import APIError
from penstock.server.pace import Pace
from penstock.server.principal import Limits, Principal
from penstock.server.window import Entry, Window

RATE_HEADERS = tuple(
    f"x-ratelimit-{what}-{kind}"
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)
SHARE = 4
"""Without a bound of its own, an answer may get this part of the tenant's tokens of a minute."""


class Account:
    """What one tenant or key has used and uses now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.requests = Window()
        self.tokens = Window()
        self.live: set[Lease] = set()

    def waiting(self) -> int:
        """Return how many of its requests have no token yet."""
        return sum(not lease.begun for lease in self.live)


class Hold(NamedTuple):
    """An account and the limits that hold for it."""

    account: Account
    limits: Limits


class Lease:
    """A request's part in its accounts. Made by `Limiter.enter`; must be closed."""

    def __init__(self, limiter: Limiter, holds: Sequence[Hold]) -> None:
        self.answers = 1
        self.prompt_tokens = 0
        self.most_tokens = 1
        self.generated = 0
        self.begun = False
        self._limiter = limiter
        self._holds = holds
        self._requests: list[tuple[Window, Entry]] = []
        self._tokens: list[tuple[Window, Entry]] = []
        self._reserved = 0
        self._admitted = False
        self._open = True

    def take(self, now: float) -> None:
        """Count the request itself; called once, after the checks."""
        for account, _ in self._holds:
            self._requests.append((account.requests, account.requests.add(1, now)))
            account.live.add(self)

    def reserve(self, prompts: Sequence[Prepared], context: int) -> list[Prepared]:
        """Bound the answers and reserve the tokens that all prompts can come to.

        Args:
            prompts: the prompts of the request.
            context: the model's context length in tokens.

        Returns:
            The prompts, with ``max_tokens`` no larger than the limits allow.

        Raises:
            APIError: 429 with the seconds until they fit, 400 if they never will.
        """
        self.answers = sum(prompt.params.n for prompt in prompts)
        self.prompt_tokens = sum(len(prompt.prompt_ids) for prompt in prompts)
        cap = min((self._cap(limits) for _, limits in self._holds), default=math.inf)
        bounded = [_bounded(prompt, cap, context) for prompt in prompts]
        most = [_most(prompt, context) for prompt in bounded]
        self.most_tokens = max(most)
        amount = self.prompt_tokens + sum(
            prompt.params.n * each for prompt, each in zip(bounded, most, strict=True)
        )
        self._limiter.check_tokens(self._holds, amount)
        now = self._limiter.clock()
        self._tokens = [(account.tokens, account.tokens.add(amount, now)) for account, _ in self._holds]
        self._reserved = amount
        return bounded

    def _cap(self, limits: Limits) -> float:
        if limits.max_tokens is not None:
            return limits.max_tokens
        if limits.tokens_per_minute is None:
            return math.inf
        left = min(limits.tokens_per_minute // SHARE, limits.tokens_per_minute - self.prompt_tokens)
        return max(1, left // self.answers)

    def admitted(self) -> None:
        """Note that the engine took the request: from now on it counts, however it ends."""
        self._admitted = True

    def news(self, tokens: int) -> None:
        """Note newly generated tokens."""
        if tokens > 0 and self._open:
            first = 0 if self.begun else self.prompt_tokens
            self.begun = True
            self.generated += tokens
            self._limiter.pace.news(tokens + first)

    def close(self) -> None:
        """Give back what was not used: everything unless it was admitted. Idempotent."""
        if not self._open:
            return
        self._open = False
        used = self.prompt_tokens + self.generated if self._admitted else 0
        for window, entry in self._tokens:
            window.give_back(entry, max(0, self._reserved - used))
        for window, entry in self._requests if not self._admitted else ():
            window.give_back(entry, 1)
        for account, _ in self._holds:
            account.live.discard(self)
        self._limiter.pace.leave(self)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's ``x-ratelimit-*`` headers: those of the account that has least left."""
        return rate_headers(self._holds, self._limiter.clock())


class Limiter:
    """Keeps the accounts of all tenants and keys; one per server, used in its event loop.

    Args:
        pace: foretells when there is room again.
        clock: monotonic seconds.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float]) -> None:
        self.pace = pace
        self.clock = clock
        self._accounts: dict[tuple[str, str], Account] = {}

    def enter(self, principal: Principal) -> Lease:
        """Return the lease of a new request.

        Raises:
            APIError: 429 with the seconds until there is room.
        """
        holds = self._holds(principal)
        now = self.clock()
        refusals = [found for hold in holds if (found := self._refusal(hold, now)) is not None]
        if refusals:
            wait, text = max(refusals)
            raise _refuse(text, wait, rate_headers(holds, now))
        lease = Lease(self, holds)
        lease.take(now)
        self.pace.enter(lease)
        return lease

    def check_tokens(self, holds: Sequence[Hold], amount: int) -> None:
        """Raise unless so many tokens fit into every account now."""
        now = self.clock()
        refusals = []
        for account, limits in holds:
            limit = limits.tokens_per_minute
            if limit is None:
                continue
            if amount > limit:
                raise APIError(
                    400,
                    f"The request may take {amount} tokens, prompt and answers together, and {account.title} "
                    f"has {limit} per minute: it can never be admitted.",
                    param="max_tokens",
                    code="request_too_large",
                )
            wait = account.tokens.wait(amount, limit, now)
            if wait > 0:
                refusals.append((wait, f"{account.title} is over its limit of {limit} tokens per minute"))
        if refusals:
            wait, text = max(refusals)
            raise _refuse(text, wait, rate_headers(holds, now))

    def _holds(self, principal: Principal) -> list[Hold]:
        """Return the accounts of a keyed principal; others have none, and no limits either.

        Accounts are kept without limits too: those that a new keys file brings hold for what runs already.
        """
        if principal.tenant is None:
            return []
        pairs = (
            ("tenant", principal.tenant, principal.limits),
            ("key", principal.name, principal.key_limits),
        )
        return [Hold(self._account(kind, name), limits) for kind, name, limits in pairs]

    def _account(self, kind: str, name: str) -> Account:
        found = self._accounts.get((kind, name))
        if found is None:
            found = self._accounts[kind, name] = Account(f"{kind} {name!r}")
        return found

    def _refusal(self, hold: Hold, now: float) -> tuple[float, str] | None:
        account, limits = hold
        if (most := limits.requests_per_minute) is not None:
            wait = account.requests.wait(1, most, now)
            if wait > 0:
                return wait, f"{account.title} is over its limit of {most} requests per minute"
        if (most := limits.concurrent_requests) is not None and len(account.live) >= most:
            wait = self.pace.until_one_ends(account.live)
            return wait, f"{account.title} has {len(account.live)} requests at once, as many as it may"
        if (most := limits.queued_requests) is not None and account.waiting() >= most:
            return self.pace.until_begun(), f"{account.title} has {most} requests waiting, as many as it may"
        return None


def rate_headers(holds: Sequence[Hold], now: float) -> dict[str, str]:
    """Return ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` of the account with least left."""
    found: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        rows = []
        for account, limits in holds:
            limit = getattr(limits, f"{kind}_per_minute")
            if limit is not None:
                window: Window = getattr(account, kind)
                rows.append((max(0, limit - window.used(now)), limit, window.resets(now)))
        if rows:
            left, limit, resets = min(rows)
            found[f"x-ratelimit-limit-{kind}"] = str(limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(left)
            found[f"x-ratelimit-reset-{kind}"] = f"{resets:.3f}".rstrip("0").rstrip(".") + "s"
    return found


def _refuse(text: str, wait: float, headers: dict[str, str]) -> APIError:
    return APIError(
        429, f"{text[0].upper()}{text[1:]}.", code="rate_limit_exceeded", retry_after=wait, headers=headers
    )


def _most(prompt: Prepared, context: int) -> int:
    """Return the most tokens that an answer to a prompt can get."""
    params = prompt.params
    if params.pooling is not None:
        return 0
    room = context - len(prompt.prompt_ids)
    if params.max_tokens is not None:
        return params.max_tokens
    return room if prompt.chat else min(COMPLETION_TOKENS, room)


def _bounded(prompt: Prepared, cap: float, context: int) -> Prepared:
    most = _most(prompt, context)
    # What does not fit the context is left as it is: the engine's refusal should quote the client's number.
    if most <= cap or most > context - len(prompt.prompt_ids):
        return prompt
    return msgspec.structs.replace(prompt, params=msgspec.structs.replace(prompt.params, max_tokens=int(cap)))
