// The last steps of the engine: what each computed, and how long it took, one narrow column a step.

import { panel, swatch, tableOf, ticks } from "./charts.js";
import { el, plural, say, seconds, short, svg, whole } from "./dom.js";

const PAD = { left: 52, right: 10 };
const LANES = { tokens: [22, 96], time: [124, 192] };
const HEIGHT = 214;
const IDLE = 0.05; // seconds between two steps that count as a pause
const MARKS = [
  ["prefill tokens", 0],
  ["decode tokens", 1],
  ["device time", 2],
  ["other time", 3],
];

export class StepChart {
  constructor(wide) {
    Object.assign(this, { steps: [], cursor: null });
    this.note = el("span", { class: "when" }, "no steps yet");
    const legend = el(
      "ul",
      { class: "legend-list" },
      MARKS.map(([name, index]) => el("li", {}, swatch(index, true), el("span", {}, name))),
      el("li", {}, pauseMark(), el("span", {}, "pause")),
    );
    this.canvas = svg("svg", { class: "chart steps", height: HEIGHT, "aria-hidden": "true" });
    this.handle = el(
      "div",
      {
        class: "handle",
        tabindex: "0",
        role: "slider",
        "aria-label": "Steps: one of the last",
        "aria-valuemin": 0,
        "aria-valuemax": 0,
        "aria-valuenow": 0,
        "aria-valuetext": "no steps yet",
      },
      this.canvas,
    );
    this.table = tableOf(
      "The last 20 steps",
      ["Step", "Prefill tokens", "Decode tokens", "Sequences", "Took", "Device", "KV blocks in use"],
      () =>
        this.steps
          .slice(-20)
          .reverse()
          .map((step) => [
            whole(step.ticket),
            whole(step.prefill_tokens),
            whole(step.decode_tokens),
            whole(step.sequences),
            seconds(step.seconds),
            seconds(step.device_seconds),
            whole(step.blocks),
          ]),
    );
    this.root = panel(
      { id: "steps", title: "The last steps", unit: "tokens and time of each", aside: this.note, wide },
      legend,
      this.handle,
      this.table.root,
    );
    this.handle.addEventListener("pointermove", (event) =>
      this.move(Math.floor((event.offsetX - PAD.left) / this.pitch)),
    );
    this.handle.addEventListener("pointerleave", () => this.move(null));
    this.handle.addEventListener("blur", () => this.move(null));
    this.handle.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.handle);
  }

  update(steps) {
    this.steps = steps;
    this.draw();
    this.table.fill();
  }

  key(event) {
    const last = this.shown.length - 1;
    const at = this.cursor ?? last + 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.move(to);
  }

  move(index) {
    this.cursor =
      index === null || !this.shown?.length ? null : Math.min(this.shown.length - 1, Math.max(0, index));
    this.draw();
  }

  draw() {
    this.width = this.handle.clientWidth;
    if (!this.width) return;
    const room = this.width - PAD.left - PAD.right;
    const count = Math.max(24, Math.min(128, Math.floor(room / 7)));
    this.shown = this.steps.slice(-count);
    this.pitch = room / count;
    this.canvas.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const parts = [
      svg("text", { x: PAD.left, y: LANES.tokens[0] - 7 }, "tokens per step"),
      svg("text", { x: PAD.left, y: LANES.time[0] - 7 }, "time per step"),
      ...this.lane(LANES.tokens, (step) => [step.prefill_tokens, step.decode_tokens], 0, short, 8),
      ...this.lane(
        LANES.time,
        (step) => [step.device_seconds, Math.max(0, step.seconds - step.device_seconds)],
        2,
        (value) => (value ? seconds(value) : "0"),
        0.001,
      ),
      svg(
        "text",
        { x: PAD.left, y: HEIGHT - 6 },
        this.shown.length ? `step ${whole(this.shown[0].ticket)}` : "",
      ),
      svg(
        "text",
        { x: this.width - PAD.right, y: HEIGHT - 6, "text-anchor": "end" },
        this.shown.length ? `step ${whole(this.shown.at(-1).ticket)}` : "",
      ),
    ];
    if (this.cursor !== null && this.shown[this.cursor]) {
      parts.push(
        svg("rect", {
          class: "pointed",
          x: PAD.left + this.cursor * this.pitch,
          y: LANES.tokens[0],
          width: this.pitch,
          height: LANES.time[1] - LANES.tokens[0],
        }),
      );
    }
    this.canvas.replaceChildren(...parts);
    this.read();
  }

  lane([top, bottom], of, first, axis, floor) {
    const marks = ticks(Math.max(floor, ...this.shown.map((step) => of(step)[0] + of(step)[1])));
    const ends = [marks[0], marks.at(-1)];
    const y = (value) => bottom - (value / ends[1]) * (bottom - top);
    const parts = ends.flatMap((mark) => [
      svg("path", { class: "grid", d: `M${PAD.left} ${y(mark)}H${this.width - PAD.right}` }),
      svg("text", { x: PAD.left - 6, y: y(mark) + 4, "text-anchor": "end" }, axis(mark)),
    ]);
    const width = Math.max(1, this.pitch - (this.pitch > 4 ? 1.5 : 0.5));
    this.shown.forEach((step, index) => {
      const x = PAD.left + index * this.pitch;
      let from = 0;
      of(step).forEach((value, part) => {
        if (value > 0)
          parts.push(
            svg("rect", {
              class: `area c${first + part}`,
              x,
              y: y(from + value),
              width,
              height: Math.max(0.5, y(from) - y(from + value)),
            }),
          );
        from += value;
      });
      const before = this.shown[index - 1];
      if (before && step.start - before.start - before.seconds > IDLE)
        parts.push(svg("path", { class: "pause", d: `M${x - 0.75} ${top}V${bottom}` }));
    });
    return parts;
  }

  read() {
    const last = this.shown.length - 1;
    const step = this.shown[this.cursor ?? last];
    const text = step
      ? `step ${whole(step.ticket)}: ${whole(step.prefill_tokens)} prefill + ${whole(step.decode_tokens)} decode tokens of ` +
        `${plural(step.sequences, "sequence")} in ${seconds(step.seconds)}`
      : "no steps yet";
    say(this.note, text);
    this.handle.setAttribute("aria-valuemax", Math.max(0, last));
    this.handle.setAttribute("aria-valuenow", Math.max(0, this.cursor ?? last));
    this.handle.setAttribute("aria-valuetext", text);
  }
}

const pauseMark = () =>
  svg(
    "svg",
    { class: "swatch", viewBox: "0 0 4 12", width: 4, height: 12, "aria-hidden": "true" },
    svg("path", { class: "pause", d: "M2 0V12" }),
  );
