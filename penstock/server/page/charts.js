// Charts over time in plain SVG: lines or stacked areas, a legend that is the read-out, arrow keys, and a table.

import { el, say, svg } from "./dom.js";

const HEIGHT = 168;
const PAD = { top: 10, right: 10, bottom: 22, left: 52 };
const GAP = 3; // seconds without a value that break a line
const TABLE_STEP = 10; // seconds between the rows of a table
const SPANS = [30, 60, 120]; // seconds that a chart may show

/** Return round steps from 0 that cover `top`, at most five. */
export function ticks(top) {
  if (!(top > 0)) return [0, 1];
  const rough = top / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough) * power;
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, index) => index * step);
}

/** A titled box with a unit; `aside` stands at the right of the title. */
export function panel({ id, title, unit, aside = null, wide = false }, ...content) {
  return el(
    "figure",
    { class: wide ? "card wide" : "card", "aria-labelledby": `${id}-title` },
    el(
      "figcaption",
      {},
      el("h2", { id: `${id}-title` }, title),
      unit ? el("span", { class: "unit" }, unit) : null,
      aside,
    ),
    ...content,
  );
}

/** Return a <details> that fills its table by `rows()` ([[cell...]...]) while it is open. */
export function tableOf(title, heads, rows) {
  const body = el("tbody");
  const table = el(
    "table",
    {},
    el("caption", { class: "hidden" }, title),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        heads.map((head) => el("th", { scope: "col" }, head)),
      ),
    ),
    body,
  );
  const root = el(
    "details",
    { class: "as-table" },
    el("summary", {}, "As a table", el("span", { class: "hidden" }, `: ${title}`)),
    el("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": `${title}, table` }, table),
  );
  let last = 0;
  const fill = (force) => {
    if (!root.open || (!force && performance.now() - last < 3000)) return;
    last = performance.now();
    body.replaceChildren(
      ...rows().map(([head, ...cells]) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, head),
          cells.map((cell) => el("td", {}, cell)),
        ),
      ),
    );
  };
  root.addEventListener("toggle", () => fill(true));
  return { root, fill };
}

/** One chart. `series` is [{name, of(state), dash?}], drawn with the classes c0, c1...; its span grows with what is
 * known, up to the longest of `SPANS`. `spoken` is the unit to say where `format(value)` has none. */
export class TimeChart {
  constructor({ id, title, unit, spoken = "", series, format, axis = format, stacked = false, floor = 0 }) {
    Object.assign(this, {
      series,
      format,
      axis,
      stacked,
      floor,
      spoken,
      window: SPANS[0],
      states: [],
      cursor: null,
    });
    this.values = series.map(() => el("b", {}, "–"));
    this.when = el("span", { class: "when" }, "now");
    const legend = el(
      "ul",
      { class: "legend-list" },
      series.map(({ name, dash }, index) =>
        el("li", {}, swatch(index, stacked, dash), el("span", {}, name), this.values[index]),
      ),
    );
    this.canvas = svg("svg", {
      class: stacked ? "chart stacked" : "chart",
      height: HEIGHT,
      "aria-hidden": "true",
    });
    this.handle = el(
      "div",
      {
        class: "handle",
        tabindex: "0",
        role: "slider",
        "aria-label": `${title}: point in time`,
        "aria-valuemin": -this.window,
        "aria-valuemax": 0,
        "aria-valuenow": 0,
        "aria-valuetext": "no figures yet",
      },
      this.canvas,
    );
    this.table = tableOf(
      title,
      ["Seconds ago", ...series.map((one) => one.name + (spoken && `,${spoken}`))],
      () => this.rows(),
    );
    this.root = panel({ id, title, unit, aside: this.when }, legend, this.handle, this.table.root);
    this.handle.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.handle.addEventListener("pointerleave", () => this.move(null));
    this.handle.addEventListener("blur", () => this.move(null));
    this.handle.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.handle);
  }

  update(states) {
    this.states = states;
    const known = states.length ? this.end - states[0].at : 0;
    this.window = SPANS.find((span) => known <= span) ?? SPANS.at(-1);
    this.handle.setAttribute("aria-valuemin", -this.window);
    this.draw();
    this.table.fill();
  }

  get end() {
    return this.states.at(-1)?.at ?? 0;
  }

  x(at) {
    return this.width - PAD.right + ((at - this.end) / this.window) * (this.width - PAD.left - PAD.right);
  }

  point(x) {
    const ago = ((x - this.width + PAD.right) / (this.width - PAD.left - PAD.right)) * this.window;
    this.move(Math.min(0, Math.max(-this.window, ago)));
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10 }[event.key];
    const to =
      { Home: -this.window, End: 0 }[event.key] ?? (by === undefined ? undefined : (this.cursor ?? 0) + by);
    if (to === undefined) return;
    event.preventDefault();
    this.move(Math.min(0, Math.max(-this.window, to)));
  }

  move(ago) {
    this.cursor = ago;
    this.draw();
  }

  /** The state nearest to so many seconds ago (a negative number). */
  at(ago) {
    const wanted = this.end + ago;
    return this.states.reduce(
      (best, one) => (best && Math.abs(best.at - wanted) <= Math.abs(one.at - wanted) ? best : one),
      null,
    );
  }

  read() {
    const shown = this.at(this.cursor ?? 0);
    const texts = this.series.map(({ of }) => (shown ? this.format(of(shown)) : "–"));
    texts.forEach((text, index) => say(this.values[index], text));
    const ago = shown ? Math.round(this.end - shown.at) : 0;
    const when = this.cursor === null || !ago ? "now" : `${ago} s ago`;
    say(this.when, when);
    this.handle.setAttribute("aria-valuenow", shown ? -ago : 0);
    this.handle.setAttribute(
      "aria-valuetext",
      `${when}: ${this.series.map(({ name }, index) => `${name} ${texts[index]}${this.spoken}`).join(", ")}`,
    );
    return shown;
  }

  draw() {
    this.width = this.handle.clientWidth;
    if (!this.width) return;
    this.canvas.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const columns = this.states.map((state) => this.series.map(({ of }) => of(state)));
    const heights = columns.map((column) =>
      this.stacked ? sum(column) : Math.max(0, ...column.filter(Number.isFinite)),
    );
    const marks = ticks(Math.max(this.floor, ...heights));
    const top = marks.at(-1);
    const y = (value) => PAD.top + (1 - value / top) * (HEIGHT - PAD.top - PAD.bottom);
    const shapes = this.stacked ? this.areas(columns, y) : this.lines(columns, y);
    const shown = this.read();
    const cross = this.cursor !== null && shown ? [this.cross(shown, y)] : [];
    this.canvas.replaceChildren(...frame(this.width, marks, y, this.axis, this.window), ...shapes, ...cross);
  }

  lines(columns, y) {
    return this.series.map(({ dash }, index) => {
      const runs = [];
      let last = -Infinity;
      this.states.forEach((state, at) => {
        const value = columns[at][index];
        if (!Number.isFinite(value)) return;
        runs.push(
          `${state.at - last > GAP ? "M" : "L"}${this.x(state.at).toFixed(1)} ${y(value).toFixed(1)}`,
        );
        last = state.at;
      });
      return svg("path", { class: `line c${index}`, d: runs.join("") || "M0 0", "stroke-dasharray": dash });
    });
  }

  areas(columns, y) {
    return this.series.map((_, index) => {
      const upper = [];
      const lower = [];
      this.states.forEach((state, at) => {
        const x = this.x(state.at).toFixed(1);
        upper.push(`${x} ${y(sum(columns[at].slice(0, index + 1))).toFixed(1)}`);
        lower.unshift(`${x} ${y(sum(columns[at].slice(0, index))).toFixed(1)}`);
      });
      return svg("path", {
        class: `area c${index}`,
        d: upper.length ? `M${[...upper, ...lower].join("L")}Z` : "M0 0",
      });
    });
  }

  cross(shown, y) {
    const x = this.x(shown.at);
    const dots = this.stacked
      ? []
      : this.series
          .map(({ of }, index) => [of(shown), index])
          .filter(([value]) => Number.isFinite(value))
          .map(([value, index]) => svg("circle", { class: `c${index}`, cx: x, cy: y(value), r: 3.5 }));
    return svg("g", { class: "cross" }, svg("path", { d: `M${x} ${PAD.top}V${HEIGHT - PAD.bottom}` }), dots);
  }

  rows() {
    const found = [];
    for (let ago = 0; ago <= this.window; ago += TABLE_STEP) {
      const state = this.at(-ago);
      if (!state || Math.abs(this.end - ago - state.at) > TABLE_STEP / 2) continue;
      found.push([String(ago), ...this.series.map(({ of }) => this.format(of(state)))]);
    }
    return found;
  }
}

const sum = (values) => values.reduce((total, value) => total + (Number.isFinite(value) ? value : 0), 0);

/** A legend's mark, drawn as the series is. */
export function swatch(index, filled, dash) {
  const mark = filled
    ? svg("rect", { class: `area c${index}`, width: 14, height: 10, rx: 2 })
    : svg("path", { class: `line c${index}`, d: "M0 5H18", "stroke-dasharray": dash });
  return svg(
    "svg",
    {
      class: "swatch",
      viewBox: filled ? "0 0 14 10" : "0 0 18 10",
      width: filled ? 14 : 18,
      height: 10,
      "aria-hidden": "true",
    },
    mark,
  );
}

function frame(width, marks, y, axis, window) {
  const lines = marks.map((mark) =>
    svg(
      "g",
      {},
      svg("path", { class: "grid", d: `M${PAD.left} ${y(mark)}H${width - PAD.right}` }),
      svg("text", { x: PAD.left - 6, y: y(mark) + 4, "text-anchor": "end" }, axis(mark)),
    ),
  );
  const times = width < 420 ? [1, 0.5, 0] : [1, 2 / 3, 1 / 3, 0];
  const labels = times.map((share) =>
    svg(
      "text",
      {
        x: width - PAD.right - share * (width - PAD.left - PAD.right),
        y: HEIGHT - 6,
        "text-anchor": share === 1 ? "start" : share ? "middle" : "end",
      },
      share ? `−${Math.round(share * window)} s` : "now",
    ),
  );
  return [...lines, ...labels];
}
