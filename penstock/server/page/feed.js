// The live view's data: the stream of /live/events, kept for two minutes, and found again when it is lost.

import { Trouble, call, events } from "./api.js";

export const WINDOW = 120; // seconds of history
const STALL = 6000; // milliseconds without an event after which a stream counts as lost
const STEPS = 256; // steps that are remembered
const SLOWEST = 10000; // milliseconds between two attempts, at most

/** Listens while started. `told(feed)` runs after each event, `changed(feed)` when the connection's state does. */
export class Feed {
  constructor(told, changed) {
    Object.assign(this, {
      told,
      changed,
      states: [],
      steps: [],
      state: "idle",
      trouble: null,
      heard: 0,
      nextTry: 0,
    });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.wake()));
    window.addEventListener("penstock:key", () => {
      if (this.wanted) this.retry();
    });
    window.addEventListener("online", () => {
      if (this.state === "lost") this.retry();
    });
  }

  get now() {
    return this.states.at(-1) ?? null;
  }

  start() {
    this.wanted = true;
    if (this.state === "idle") this.listen();
  }

  stop() {
    this.wanted = false;
    this.rest();
  }

  rest() {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.controller = null;
    this.turn("idle");
  }

  wake() {
    if (this.wanted && this.state === "idle") this.listen();
  }

  retry() {
    this.rest();
    this.failures = 0;
    this.listen();
  }

  turn(state, trouble = null) {
    Object.assign(this, { state, trouble });
    this.changed(this);
  }

  async listen() {
    const controller = new AbortController();
    this.controller = controller;
    this.turn(this.failures ? "lost" : "connecting", this.trouble);
    let watch = setTimeout(() => controller.abort("stall"), STALL);
    let trouble = new Trouble(0, "The stream of figures ended.");
    try {
      const reply = await call("/live/events", { signal: controller.signal, accept: "text/event-stream" });
      for await (const { data } of events(reply)) {
        if (!data) continue;
        clearTimeout(watch);
        watch = setTimeout(() => controller.abort("stall"), STALL);
        this.take(JSON.parse(data));
      }
    } catch (error) {
      if (error instanceof Trouble) trouble = error;
    }
    clearTimeout(watch);
    if (this.controller === controller) this.lost(trouble);
  }

  lost(trouble) {
    this.failures = (this.failures ?? 0) + 1;
    const wait = Math.min(SLOWEST, 500 * 2 ** (this.failures - 1)) * (0.75 + Math.random() / 2);
    this.nextTry = performance.now() + wait;
    this.turn([401, 403].includes(trouble.status) ? "denied" : "lost", trouble);
    if (this.state === "lost") this.timer = setTimeout(() => this.listen(), wait);
  }

  take(state) {
    const before = this.now;
    if (before && (before.started !== state.started || before.restarts !== state.restarts)) this.steps = [];
    this.states.push(state);
    while (this.states[0].at < state.at - WINDOW) this.states.shift();
    const newest = this.steps.at(-1)?.ticket ?? -1;
    this.steps.push(...(state.engine?.steps ?? []).filter((step) => step.ticket > newest));
    this.steps.splice(0, Math.max(0, this.steps.length - STEPS));
    this.heard = performance.now();
    this.failures = 0;
    if (this.state !== "open") this.turn("open");
    this.told(this);
  }
}
