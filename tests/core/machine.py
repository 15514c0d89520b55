"""A hypothesis state machine that drives the scheduler like a hostile world and checks it after each move."""

import sys
from collections import Counter, deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.core.output import FinishReason
from penstock.core.request import Turn
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.fake_executor import FakeExecutor, next_token
from penstock.testing.invariants import (
    check_blocks,
    check_empty,
    check_pins,
    check_pins_end,
    check_places,
    check_references,
)

BUDGET = 10


class SchedulerMachine(RuleBasedStateMachine):
    """submit / plan / land / cancel / fail, with little memory so that preemption is common."""

    @initialize(
        depth=st.integers(0, 1),
        blocks=st.integers(8, 20),
        slots=st.integers(1, 4),
        order=st.sampled_from(
            [
                "fcfs",
                "priority > fcfs",
                "aged(priority, 3s) > fcfs",
                "per-tenant(fcfs)",
                "program-fcfs",
                "priority > program-fcfs",
                "prefix-groups",
                "foothold(vtc)",
                "dlpm(20)",
            ]
        ),
        shape=st.sampled_from(
            [
                "chunked",
                "prefill-first",
                "chunked(6)",
                "splitfuse(7)",
                "layered(3, 9, 2)",
                "layered(4, 10, 1, 2)",
            ]
        ),
        preempt=st.sampled_from(["newest", "least-loss"]),
        caching=st.booleans(),
        retain=st.sampled_from(["none", "ttl(1s)", "ttl(1000s)", "groups"]),
        prefix_wait=st.booleans(),
    )
    def start(self, depth, blocks, slots, order, shape, preempt, caching, retain, prefix_wait):
        order = "fcfs" if order in ("prefix-groups", "dlpm(20)") and not caching else order
        self.depth, self.order = depth, order
        self.failing = False
        spec = make_spec(
            blocks=blocks, slots=slots, page_size=4, max_model_len=blocks * 4, vocab_size=4, layers=5
        )
        self.executor = FakeExecutor(spec, fault=self._fault)
        self.s = make_scheduler(
            spec,
            max_tokens=BUDGET,
            order=order,
            shape=shape,
            preempt=preempt,
            prefix_caching=caching,
            retain=retain if caching else "none",
            prefix_wait=prefix_wait,
        )
        self.history = {}
        self.b = self.s.state
        self.now, self.count, self.pinned_since = 1.0, 0, 0.0
        self.in_flight = deque()
        self.requests, self.got, self.ended = {}, {}, Counter()
        self.computed = {}

    def _fault(self, plan):
        if self.failing:
            raise RuntimeError("injected")

    # -- moves -------------------------------------------------------------------------------------

    @rule(
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=20),
        max_tokens=st.integers(1, 14),
        priority=st.integers(0, 2),
        tenant=st.sampled_from(["a", "b"]),
        stop=st.booleans(),
        program=st.sampled_from([None, "p", "q"]),
        goes_on=st.booleans(),
        last=st.booleans(),
    )
    def submit(self, prompt, max_tokens, priority, tenant, stop, program, goes_on, last):
        if goes_on and program is not None:
            prompt = [*self.history.get(program, []), *prompt]
        total = min(len(prompt) + max_tokens, self.b.spec.max_model_len)
        if len(prompt) >= self.b.spec.max_model_len or -(-total // 4) > self.b.spec.blocks:
            return
        self.count += 1
        request = make_request(
            f"r{self.count}",
            prompt,
            max_tokens=max_tokens,
            priority=priority,
            tenant=tenant,
            eos_ids=(3,) if stop else (),
            program=program,
            turn=Turn(last=last),
            group=program,
            group_tokens=min(8, len(prompt)),
        )
        self.s.submit(request, self.now)
        self.requests[request.id], self.got[request.id] = request, []

    @precondition(lambda self: len(self.in_flight) <= self.depth)
    @rule()
    def plan(self):
        self.now += 0.5
        landed = self.b.kv.pool.landed
        self.pinned_since = self.now
        before = set(self.b.running._members)
        plan = self.s.plan(self.now)
        if plan is None:
            return
        rows = sum(item.length for item in plan.items)
        assert plan.shape.tokens == rows <= BUDGET, f"budget of {BUDGET} exceeded: {rows}"
        assert len({item.slot for item in plan.items}) == len(plan.items) <= self.b.spec.slots
        _, members = self.b.in_flight[-1]
        self._check_fences(members)
        if self.order == "fcfs":
            self._check_nobody_overtaken(before, landed)
        self.executor.submit(plan)
        self.in_flight.append((plan, {seq.id: tuple(seq.blocks) for seq, _ in members}))

    def _check_fences(self, members):
        """No block or slot of a step in flight may have been given to another sequence."""
        pool = self.b.kv.pool
        for seq, _ in members:
            own = {b for b in seq.blocks if pool.refs[b] == 1 and not pool.is_kept(b)}
            for plan, tables in self.in_flight:
                for other, blocks in tables.items():
                    if other != seq.id:
                        assert not own & set(blocks), f"{seq.id} reuses a block of {other} in flight"
                for item in plan.items:
                    if item.slot == seq.slot:
                        assert seq.id in tables, f"{seq.id} reuses a slot in flight"

    def _check_nobody_overtaken(self, before, landed):
        admitted = [seq for seq in self.b.running._members if seq not in before]
        waiting = [seq for seq in self.b.waiting if seq.ticket <= landed]
        for new in admitted:
            for old in waiting:
                assert (new.arrival, new.number) < (old.arrival, old.number), f"{new.id} overtook {old.id}"

    @precondition(lambda self: self.in_flight)
    @rule()
    def land(self):
        self.now += 0.5
        plan, _ = self.in_flight.popleft()
        self.s.land(self.executor.collect(plan.ticket), self.now)
        self._read_outbox()

    @precondition(lambda self: self.in_flight)
    @rule()
    def fail_step(self):
        """The oldest step in flight fails as a whole, and with it those built on it."""
        ticket = self.in_flight[0][0].ticket
        while self.in_flight:
            plan, _ = self.in_flight.popleft()
            self.executor.collect(plan.ticket)
        self.s.abandon(ticket, "injected", self.now)
        self._read_outbox()

    @precondition(lambda self: self.b.sequences)
    @rule(data=st.data())
    def cancel(self, data):
        victim = data.draw(st.sampled_from(sorted(self.b.sequences)))
        assert self.s.cancel(victim, self.now, FinishReason.ABORT, "client")
        assert not self.s.cancel(victim, self.now, FinishReason.ABORT, "client")
        self._read_outbox()

    def _read_outbox(self):
        for out in self.b.outbox:
            assert not self.ended[out.request_id], "news after the terminal event"
            self.got[out.request_id].extend(out.tokens)
            if out.finish is not None:
                self.ended[out.request_id] += 1
                self._check_output(out)
        self.b.outbox.clear()

    def _check_output(self, out):
        """The fake model is a function of the tokens, so the right output is known."""
        request = self.requests[out.request_id]
        self.history[request.program] = [*request.prompt_ids, *self.got[out.request_id]]
        tokens, got = list(request.prompt_ids), self.got[out.request_id]
        for token in got:
            assert token == next_token(tokens, 4)
            tokens.append(token)
        if out.finish.reason is FinishReason.STOP:
            assert got[-1] == 3 == out.finish.stop_token
        if out.finish.reason is FinishReason.LENGTH:
            assert len(tokens) == min(
                len(request.prompt_ids) + request.sampling.max_tokens, self.b.spec.max_model_len
            )

    # -- what must always hold ---------------------------------------------------------------------

    @invariant()
    def blocks_are_conserved(self):
        if hasattr(self, "s"):
            check_blocks(self.b)

    @invariant()
    def references_are_counted(self):
        if hasattr(self, "s"):
            check_references(self.b)

    @invariant()
    def pins_have_one_owner_and_end(self):
        if hasattr(self, "s"):
            check_pins(self.b)
            check_pins_end(self.b, self.pinned_since)

    @invariant()
    def counts_are_ordered_and_computed_is_monotone(self):
        if not hasattr(self, "s"):
            return
        for seq in self.b.sequences.values():
            assert len(seq.tokens) <= seq.target <= len(seq.tokens) + self.depth + 1
            before, preemptions = self.computed.get(seq.id, (0, 0))
            assert seq.computed >= before or seq.preemptions > preemptions, "computed went back"
            self.computed[seq.id] = (seq.computed, seq.preemptions)

    @invariant()
    def states_match_places(self):
        if hasattr(self, "s"):
            check_places(self.b)

    def teardown(self):
        """Left alone, the scheduler finishes everybody in bounded time, each exactly once."""
        if not hasattr(self, "s") or sys.exc_info()[0] is not None:
            return  # a failure is on its way already: do not hide it behind another
        work = sum(len(r.prompt_ids) + r.sampling.max_tokens for r in self.requests.values())
        for _ in range(20 * work + 20):
            if not (self.b.sequences or self.in_flight):
                break
            if len(self.in_flight) <= self.depth:
                self.plan()
            if self.in_flight:
                self.land()
            self.blocks_are_conserved()
            self.references_are_counted()
            self.pins_have_one_owner_and_end()
        assert not self.b.sequences, "somebody starved"
        assert set(self.ended) == set(self.requests), "a request has no terminal event"
        assert sum(self.b.counters.finished.values()) == len(self.requests)
        check_empty(self.b)
