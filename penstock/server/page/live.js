// The live view: tiles with the figures of now, panels with the last two minutes, and the state of the connection.

import { TimeChart, panel } from "./charts.js";
import { byId, duration, el, percent, plural, say, seconds, short, whole } from "./dom.js";
import { Feed } from "./feed.js";
import { StepChart } from "./steps.js";

const OLD = 2; // seconds without news of the engine that are worth saying

const TILES = [
  [
    "Engine",
    (now) => [
      now.status,
      now.engine?.age > OLD
        ? `silent for ${seconds(now.engine.age)}`
        : `up ${duration(now.uptime)}${now.restarts ? `, ${now.restarts}× restarted` : ""}`,
      now.status !== "ready" || now.engine?.age > OLD,
    ],
  ],
  ["Running", ({ engine }) => [engine && whole(engine.running), "sequences"]],
  ["Waiting", ({ engine }) => [engine && whole(engine.waiting), "sequences"]],
  ["Generating", ({ engine }) => [engine && short(engine.throughput.generated), "tokens per second"]],
  ["First token", ({ latency }) => [seconds(latency.ttft.p50), `median; p99 ${seconds(latency.ttft.p99)}`]],
  [
    "KV memory",
    ({ engine }) => [
      engine && percent(engine.blocks.in_use / Math.max(1, engine.blocks.total)),
      engine && `in use, of ${whole(engine.blocks.total * engine.blocks.page_size)} tokens`,
    ],
  ],
  [
    "Prefix hits",
    ({ engine }) => [
      engine && percent(engine.prefix_cache.recent_hit_rate ?? engine.prefix_cache.hit_rate ?? NaN),
      engine?.prefix_cache.recent_hit_rate === null ? "of all prompt tokens" : "of prompt tokens lately",
    ],
  ],
  [
    "Preemptions",
    ({ engine }) => [
      engine && whole(engine.preemptions),
      engine && `${short(engine.recomputed_tokens)} tokens redone`,
    ],
  ],
];

const of = (path) => (state) => path.reduce((value, name) => value?.[name], state) ?? NaN;

function charts() {
  const percentiles = (name) => [
    { name: "p50", of: of(["latency", name, "p50"]) },
    { name: "p90", of: of(["latency", name, "p90"]), dash: "7 3" },
    { name: "p99", of: of(["latency", name, "p99"]), dash: "2 3" },
  ];
  const axis = (value) => (value ? seconds(value) : "0");
  return [
    new TimeChart({
      id: "rate",
      title: "Throughput",
      unit: "tokens per second, by kind",
      spoken: " tok/s",
      format: short,
      floor: 10,
      series: [
        { name: "generated", of: of(["engine", "throughput", "generated"]) },
        { name: "prompt, computed", of: of(["engine", "throughput", "prompt_computed"]), dash: "7 3" },
        { name: "prompt, from cache", of: of(["engine", "throughput", "prompt_cached"]), dash: "2 3" },
      ],
    }),
    new TimeChart({
      id: "queue",
      title: "Running and waiting",
      unit: "sequences",
      format: short,
      floor: 4,
      series: [
        { name: "running", of: of(["engine", "running"]) },
        { name: "waiting", of: of(["engine", "waiting"]), dash: "7 3" },
      ],
    }),
    new TimeChart({
      id: "kv",
      title: "KV blocks by state",
      unit: "blocks",
      stacked: true,
      spoken: " blocks",
      format: short,
      floor: 1,
      series: [
        {
          name: "in use",
          of: (state) => (state.engine ? state.engine.blocks.in_use - state.engine.blocks.pinned : NaN),
        },
        { name: "pinned", of: of(["engine", "blocks", "pinned"]) },
        { name: "cached prefixes", of: of(["engine", "blocks", "cached"]) },
        { name: "free", of: of(["engine", "blocks", "free"]) },
      ],
    }),
    new TimeChart({
      id: "ttft",
      title: "Time to first token",
      unit: "seconds",
      format: seconds,
      axis,
      floor: 0.001,
      series: percentiles("ttft"),
    }),
    new TimeChart({
      id: "tpot",
      title: "Time per output token",
      unit: "after the first",
      format: seconds,
      axis,
      floor: 0.001,
      series: percentiles("tpot"),
    }),
  ];
}

/** Running and waiting by tenant: a table whose cells are bars, so that it needs no second form. */
class Tenants {
  constructor() {
    this.body = el("tbody");
    this.empty = el(
      "p",
      { class: "empty-note" },
      "Nothing runs and nothing waits. ",
      el("a", { href: "#/playground" }, "Ask something in the playground"),
      ", or put some load on it: ",
      el("code", {}, "penstock bench serve"),
      ".",
    );
    this.table = el(
      "table",
      { class: "tenants" },
      el("caption", { class: "hidden" }, "Sequences by tenant"),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["Tenant", "Running", "Waiting"].map((head) => el("th", { scope: "col" }, head)),
          el("td", {}),
        ),
      ),
      this.body,
    );
    this.root = panel({ id: "tenants", title: "Queue by tenant", unit: "sequences" }, this.table, this.empty);
  }

  update(state) {
    // By name: rows that trade places twice a second cannot be read.
    const tenants = (state.engine?.tenants ?? []).toSorted((a, b) => a.tenant.localeCompare(b.tenant));
    const most = Math.max(1, ...tenants.map((one) => one.running + one.waiting));
    this.table.hidden = !tenants.length;
    this.empty.hidden = Boolean(tenants.length);
    this.body.replaceChildren(
      ...tenants.map(({ tenant, running, waiting }) => {
        const bars = [
          ["c0", running],
          ["c1", waiting],
        ].map(([kind, count]) => {
          const bar = el("span", { class: `bar-part ${kind}` });
          bar.style.width = `${(count / most) * 100}%`;
          return bar;
        });
        return el(
          "tr",
          {},
          el("th", { scope: "row", title: tenant }, tenant),
          el("td", {}, whole(running)),
          el("td", {}, whole(waiting)),
          el("td", { class: "bar-cell", "aria-hidden": "true" }, el("div", { class: "bars" }, bars)),
        );
      }),
    );
  }
}

/** What was counted since the start, and which policies decide. */
class Facts {
  constructor() {
    this.list = el("dl", { class: "facts" });
    this.root = panel({ id: "facts", title: "Since the start", wide: true }, this.list);
    this.last = "";
  }

  update({ engine, policies, requests, model, version }) {
    const ended = Object.entries(engine?.finished ?? {})
      .filter(([, count]) => count)
      .map(([reason, count]) => `${reason} ${whole(count)}`);
    const rows = [
      ["Requests open", whole(requests)],
      ["Sequences taken in", engine ? whole(engine.submitted) : "–"],
      ["Ended", ended.join(", ") || "none yet"],
      [
        "Steps",
        engine
          ? `${whole(engine.step_count)}${engine.failed_steps ? `, ${whole(engine.failed_steps)} failed and retried` : ""}`
          : "–",
      ],
      ["Device busy", engine ? percent(engine.throughput.device_busy) : "–"],
      ...Object.entries(policies).map(([slot, policy]) => [`Policy: ${slot}`, el("code", {}, policy)]),
      ["Serves", `${model}, Penstock ${version}`],
    ];
    const now = rows.map(([name, value]) => `${name}${value.textContent ?? value}`).join("|");
    if (now === this.last) return;
    this.last = now;
    this.list.replaceChildren(
      ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
  }
}

/** The whole view; `show(on)` when it is opened or left, `health(state)` tells the header. */
export class Live {
  constructor(health, needKey) {
    Object.assign(this, { health, needKey, paused: false, drawn: 0 });
    this.slow = matchMedia("(prefers-reduced-motion: reduce)").matches ? 2000 : 0;
    this.tiles = TILES.map(([name, of]) => {
      const parts = { value: el("dd", {}, "–"), note: el("dd", { class: "help" }), of };
      parts.root = el("div", { class: "tile" }, el("dt", {}, name), parts.value, parts.note);
      return parts;
    });
    byId("tiles").append(
      el(
        "dl",
        {},
        this.tiles.map((tile) => tile.root),
      ),
    );
    this.charts = charts();
    this.tenants = new Tenants();
    this.steps = new StepChart(true);
    this.facts = new Facts();
    const [rates, queue, kv, ttft, tpot] = this.charts;
    const cards = [rates, this.tenants, ttft, tpot, this.steps, queue, kv, this.facts];
    byId("panels").append(...cards.map(({ root }) => root));
    this.feed = new Feed(
      () => this.draw(),
      () => this.connection(),
    );
    byId("pause").addEventListener("click", () => this.pause());
    setInterval(() => this.countdown(), 500);
  }

  show(on) {
    if (on) this.feed.start();
    else this.feed.stop();
    if (on) this.draw(true);
  }

  pause() {
    this.paused = !this.paused;
    byId("pause").setAttribute("aria-pressed", this.paused);
    say(byId("pause"), this.paused ? "Go on" : "Pause");
    say(
      byId("live-about"),
      this.paused ? "Held still; figures are still collected." : "The last two minutes of this engine.",
    );
    this.draw(true);
  }

  draw(force = false) {
    const { now, states, steps } = this.feed;
    if (!now) return;
    this.health(now);
    if (this.paused && this.held) return;
    this.held = this.paused;
    if (!force && performance.now() - this.drawn < this.slow) return;
    this.drawn = performance.now();
    this.alarm(now);
    for (const { root, value, note, of } of this.tiles) {
      const [text, more, alarm] = of(now);
      say(value, text ?? "–");
      say(note, more ?? "the engine tells nothing");
      root.classList.toggle("alarm", Boolean(alarm));
    }
    for (const chart of this.charts) chart.update(states.slice());
    this.tenants.update(now);
    this.steps.update(steps.slice());
    this.facts.update(now);
  }

  /** Say above everything when the engine is not what it should be, and why. */
  alarm({ status, cause, engine }) {
    const silent = engine?.age > OLD ? "The engine has gone silent: a step takes long, or it hangs." : "";
    const text = status === "ready" ? silent : `The engine is ${status}${cause ? `: ${cause}` : "."}`;
    byId("alarm").hidden = !text;
    say(byId("alarm"), text);
  }

  connection() {
    const { state, trouble } = this.feed;
    const away = state === "lost" || state === "denied";
    const box = byId("lost");
    byId("live").classList.toggle("stale", away);
    box.hidden = !away;
    if (!away) return box.replaceChildren();
    this.count = el("span", { "aria-hidden": "true" });
    const denied = state === "denied";
    const button = el(
      "button",
      { type: "button", class: "small", on: { click: () => (denied ? this.needKey() : this.feed.retry()) } },
      denied ? "Enter a key" : "Try now",
    );
    const key = `${state} ${trouble?.status} ${trouble?.message}`;
    const head = denied ? trouble.message : "Connection lost. What is shown is old.";
    const text = denied ? "" : (trouble?.message ?? "");
    if (this.said === key && box.childElementCount) {
      box.querySelector("span").replaceWith(this.count);
    } else {
      box.replaceChildren(el("p", {}, el("b", {}, head), " ", text, " ", this.count), button);
    }
    this.said = key;
    this.countdown();
  }

  countdown() {
    if (byId("lost").hidden || this.feed.state !== "lost") return;
    const left = Math.max(0, Math.ceil((this.feed.nextTry - performance.now()) / 1000));
    const ago = this.feed.heard
      ? `Last heard ${plural(Math.round((performance.now() - this.feed.heard) / 1000), "second")} ago. `
      : "";
    say(this.count, `${ago}${left ? `Next try in ${left} s.` : "Trying…"}`);
  }
}
