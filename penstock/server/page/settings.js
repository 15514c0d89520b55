// The settings panel: its controls, and the values that were set. What is not set is not sent.

import { getKey, setKey } from "./api.js";
import { FORMATS, PENALTIES, SAMPLING, TOOLS } from "./controls.js";
import { el } from "./dom.js";

const SAMPLES = new Set(Object.values(FORMATS).map(({ sample }) => sample));

/** `values` is a plain object of what was set; `changed()` runs after every change. */
export class Settings {
  constructor(root, changed) {
    this.values = {};
    this.fields = new Map(); // name -> {input, slot, show(value)}
    this.changed = changed;
    root.append(
      section("Prompt", true, this.system()),
      section("Sampling", true, ...SAMPLING.map((one) => this.number(one))),
      section("Penalties and stops", false, ...PENALTIES.map((one) => this.number(one)), this.stops()),
      section("Output", false, ...this.format(), this.logprobs()),
      section("Tools", false, ...this.tools()),
      section("Connection", true, this.key(), this.tenant()),
    );
  }

  set(name, value) {
    this.put(name, value);
    this.changed();
  }

  put(name, value) {
    if (value === undefined || value === "" || value === false) delete this.values[name];
    else this.values[name] = value;
    this.fields.get(name).show(this.values[name]);
  }

  /** Set exactly these; only the system prompt is kept, where they do not name it. */
  preset(values) {
    const wanted = { system: this.values.system, ...values };
    for (const name of this.fields.keys()) this.put(name, wanted[name]);
    this.changed();
  }

  reset() {
    this.preset({ system: undefined });
  }

  /** Mark the fields at fault, and open their sections; `problems` is {name: text}. */
  mark(problems) {
    for (const [name, { input, slot }] of this.fields) {
      const text = problems[name] ?? "";
      if (text) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
      if (slot.textContent !== text) slot.textContent = text;
      if (text) input.closest("details").open = true;
    }
  }

  /** Fit the limit of an answer to the served model's context, in tokens. */
  context(tokens) {
    const { slider, range } = this.fields.get("max_tokens");
    slider.max = tokens;
    slider.dataset.rest = tokens;
    range.textContent = `1 to ${tokens}`;
    this.put("max_tokens", this.values.max_tokens);
  }

  /** Register an input and return its row: label, help, the place for what is wrong with it. */
  row(name, kind, label, help, input, ...more) {
    const id = `set-${name}`;
    const slot = el("p", { class: "problem", id: `${id}-problem` });
    input.id = id;
    input.setAttribute("aria-describedby", `${id}-help ${id}-problem`);
    const show = (value) => {
      if (input.value !== (value ?? "")) input.value = value ?? "";
    };
    this.fields.set(name, { input, slot, show });
    const words = [el("label", { for: id }, label), el("p", { class: "help", id: `${id}-help` }, help)];
    return el("div", { class: `control ${kind}` }, words, input, slot, more);
  }

  /** A row for text: a line, or several. */
  text(name, label, help, props = {}, ...more) {
    const { rows, ...rest } = props;
    const input = rows
      ? el("textarea", { rows, spellcheck: "false", ...rest })
      : el("input", { type: "text", autocomplete: "off", ...rest });
    input.addEventListener("input", () => this.set(name, rows ? input.value : input.value.trim()));
    const row = this.row(name, "wide", label, help, input, ...more);
    if (!rows) {
      this.fields.get(name).show = (value) => {
        if (input.value.trim() !== (value ?? "")) input.value = value ?? "";
      };
    }
    return row;
  }

  number({ name, label, help, min, max, step, rest, open, range }) {
    const input = el("input", {
      type: "number",
      min,
      max: open ? undefined : max,
      step: step < 1 ? "any" : step,
      inputmode: step < 1 ? "decimal" : "numeric",
      placeholder: "default",
    });
    const shown = el("span", { class: "range" }, range ?? `${min} to ${max}`);
    // The keyboard has the number itself; a second tab stop a row would only be in the way.
    const slider =
      rest !== undefined &&
      el("input", {
        type: "range",
        min,
        max,
        step,
        tabindex: "-1",
        "data-rest": rest,
        "aria-label": `${label}, slider`,
      });
    const row = this.row(name, "number", label, [help, " ", shown], input, slider || null);
    const show = (value) => {
      const typing = document.activeElement === input && value !== undefined;
      if (!typing || input.valueAsNumber !== value) input.value = Number.isNaN(value) ? "" : (value ?? "");
      if (slider) slider.value = value ?? slider.dataset.rest;
      row.classList.toggle("is-set", value !== undefined);
    };
    input.addEventListener("input", () => {
      const empty = input.value === "" && !input.validity.badInput;
      this.set(name, empty ? undefined : input.valueAsNumber);
    });
    if (slider) slider.addEventListener("input", () => this.set(name, slider.valueAsNumber));
    Object.assign(this.fields.get(name), { slider, range: shown, show });
    show(undefined);
    return row;
  }

  choice(name, label, help, options) {
    const items = Object.entries(options).map(([value, text]) => el("option", { value }, text));
    const input = el("select", {}, items);
    input.addEventListener("change", () => this.set(name, input.value));
    return this.row(name, "wide", label, help, input);
  }

  system() {
    const help = "How the model should behave, in every turn.";
    return this.text("system", "System prompt", help, {
      rows: 3,
      placeholder: "You are …",
      spellcheck: "true",
    });
  }

  stops() {
    return this.text("stop", "Stop strings", "One a line; the answer ends before the first that appears.", {
      rows: 2,
    });
  }

  logprobs() {
    const input = el("input", { type: "checkbox" });
    const help = "Ask for each token's probability and its four runners-up.";
    const row = this.row("logprobs", "tick", "Colour tokens by probability", help, input);
    input.addEventListener("change", () => this.set("logprobs", input.checked));
    this.fields.get("logprobs").show = (value) => (input.checked = Boolean(value));
    return row;
  }

  format() {
    const labels = Object.fromEntries(Object.entries(FORMATS).map(([kind, { label }]) => [kind, label]));
    const help = "The server masks every token that would break the form.";
    const row = this.choice("format", "Answer in the form of", help, labels);
    const box = this.text("form", "Form", "", { rows: 5, class: "mono" });
    const { input } = this.fields.get("format");
    this.fields.get("format").show = (value) => {
      input.value = value ?? "";
      const { box: name, sample } = FORMATS[input.value];
      box.hidden = !name;
      box.querySelector("label").textContent = name ?? "";
      if (name && SAMPLES.has(this.values.form)) this.put("form", sample);
    };
    this.fields.get("format").show();
    return [row, box];
  }

  tools() {
    const fill = el("button", { type: "button", class: "small" }, "Fill in an example");
    fill.addEventListener("click", () => this.set("tools", TOOLS));
    const help = "Functions that the model may call; you play them.";
    const choices = { "": "automatic", none: "none", required: "required" };
    return [
      this.text("tools", "Tools, as a JSON list", help, { rows: 4, class: "mono" }, fill),
      this.choice("tool_choice", "Tool choice", "Whether it may, must not or must call one.", choices),
    ];
  }

  key() {
    const input = el("input", { type: "password", autocomplete: "off", value: getKey() });
    input.placeholder = "none needed on an open server";
    input.addEventListener("change", () => setKey(input.value.trim()));
    const row = this.row(
      "key",
      "wide",
      "API key",
      "Kept in this browser tab only, and forgotten when it closes.",
      input,
    );
    this.fields.get("key").show = () => {};
    const keep = (event) => {
      event.preventDefault();
      input.blur(); // which commits it
    };
    return el("form", { on: { submit: keep } }, row);
  }

  tenant() {
    const help = "Whom fair scheduling charges. A key that belongs to a tenant decides it.";
    return this.text("tenant", "Tenant", help, { placeholder: "default" });
  }
}

function section(title, open, ...rows) {
  const summary = el("summary", {}, el("h3", {}, title));
  return el("details", { class: "section", open }, summary, el("div", { class: "rows" }, ...rows));
}
