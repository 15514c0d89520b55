// The controls of a request: what each means, its range, and the values that were set. Unset ones are not sent.

import { getKey, setKey } from "./api.js";
import { el } from "./dom.js";

const SAMPLING = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, rest: 1,
    help: "How freely tokens are drawn: 0 always takes the likeliest, above 1 gets wild." },
  { name: "top_p", label: "Top p", min: 0.01, max: 1, step: 0.01, rest: 1,
    help: "Draw from the likeliest tokens that make up this probability together." },
  { name: "top_k", label: "Top k", min: 0, max: 200, step: 1, rest: 0, open: true,
    help: "Draw from the k likeliest tokens; 0 keeps all.", range: "0 or more" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, rest: 0,
    help: "Drop tokens below this share of the likeliest one's probability." },
  { name: "max_tokens", label: "Most tokens", min: 1, max: 2048, step: 1, rest: 2048, open: true,
    help: "End the answer after so many tokens." },
  { name: "seed", label: "Seed", step: 1, help: "The same seed gives the same answer, whatever else is running.",
    range: "any whole number" },
  { name: "n", label: "Answers", min: 1, max: 8, step: 1, rest: 1,
    help: "So many answers at once; they share the prompt's memory." },
];
const PENALTIES = [
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, rest: 0,
    help: "Above 0: avoid tokens that the answer has already used." },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, rest: 0,
    help: "The same, by how often they were used." },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.1, max: 2, step: 0.05, rest: 1,
    help: "Above 1: divide the scores of tokens seen in prompt and answer." },
];
const FORMATS = {
  text: { label: "Free text" },
  json_object: { label: "JSON, any object" },
  json_schema: { label: "JSON of a schema", box: "JSON schema", sample:
    '{\n  "type": "object",\n  "properties": {"city": {"type": "string"}},\n  "required": ["city"]\n}' },
  regex: { label: "Regular expression", box: "Regular expression", sample: "(yes|no), because [a-z ]{5,40}\\." },
  choice: { label: "One of these", box: "Choices, one per line", sample: "yes\nno" },
};
export const TOOLS_SAMPLE = JSON.stringify([{ type: "function", function: { name: "get_weather",
  description: "Weather of a city", parameters: { type: "object", properties: { city: { type: "string" } },
    required: ["city"] } } }], null, 2);

/** The settings panel; `values` is a plain object of what was set. Calls `changed` after every change. */
export class Settings {
  constructor(root, changed) {
    this.root = root;
    this.values = {};
    this.fields = new Map(); // name -> {input, show(value)}
    this.changed = changed;
    root.append(
      section("Prompt", true, this.area("system", "System prompt", "How the model should behave, in every turn.", "You are …")),
      section("Sampling", true, SAMPLING.map((one) => this.number(one))),
      section("Penalties and stops", false, PENALTIES.map((one) => this.number(one)),
        this.area("stop", "Stop strings", "One a line; the answer ends before the first that appears.", "")),
      section("Output", false, this.format(), this.check("logprobs", "Colour tokens by probability",
        "Ask for each token's probability and its four runners-up.")),
      section("Tools", false, this.area("tools", "Tools, as JSON", "Functions that the model may call; you answer for them.", TOOLS_SAMPLE, true),
        this.choice("tool_choice", "Tool choice", "Whether it may, must not or must call one.",
          { "": "automatic", none: "none", required: "required" })),
      section("Connection", true, this.key(), this.text("tenant", "Tenant",
        "Whom fair scheduling charges for this request. A key that belongs to a tenant decides it.", "default")),
    );
  }

  set(name, value) {
    if (value === undefined || value === "" || value === false) delete this.values[name];
    else this.values[name] = value;
    this.fields.get(name)?.show(this.values[name]);
    this.changed();
  }

  /** Set several at once and drop all others except the system prompt. */
  preset(values) {
    const kept = this.values.system === undefined ? {} : { system: this.values.system };
    for (const name of this.fields.keys()) this.fields.get(name).show(undefined);
    this.values = {};
    for (const [name, value] of Object.entries({ ...kept, ...values })) this.set(name, value);
    this.changed();
  }

  reset() {
    delete this.values.system;
    this.preset({});
  }

  /** Mark the fields at fault; `problems` is {name: text}. Opens their sections. */
  mark(problems) {
    for (const [name, { input, slot }] of this.fields) {
      const text = problems[name] ?? "";
      if (text) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
      if (slot && slot.textContent !== text) slot.textContent = text;
      if (text) input.closest("details").open = true;
    }
  }

  /** Fit the ranges to the served model. */
  context(tokens) {
    this.limit = tokens;
    const { slider, input, range } = this.fields.get("max_tokens");
    slider.max = input.max = tokens;
    if (this.values.max_tokens === undefined) slider.value = tokens;
    range.textContent = `1 to ${tokens}`;
  }

  number({ name, label, help, min, max, step, rest, open, range }) {
    const id = `set-${name}`;
    const input = el("input", { id, type: "number", min, max: open ? undefined : max, step: step < 1 ? "any" : step,
      inputmode: step < 1 ? "decimal" : "numeric", placeholder: "default", "aria-describedby": `${id}-help ${id}-problem` });
    const slider = rest === undefined ? null
      : el("input", { type: "range", min, max, step, value: rest, "aria-label": `${label}, slider`, tabindex: "-1" });
    const shown = el("span", {}, range ?? (min === undefined ? "" : `${min} to ${max}`));
    const slot = el("p", { class: "problem", id: `${id}-problem` });
    const show = (value) => {
      if (document.activeElement !== input || value === undefined || Number(input.value) !== value) input.value = value ?? "";
      if (slider) slider.value = value ?? (name === "max_tokens" && this.limit ? this.limit : rest);
      row.classList.toggle("is-set", value !== undefined);
    };
    input.addEventListener("input", () => this.set(name, input.value === "" ? undefined : input.valueAsNumber));
    slider?.addEventListener("input", () => this.set(name, slider.valueAsNumber));
    const row = el("div", { class: "control" },
      el("label", { for: id }, label), input, slider,
      el("p", { class: "help", id: `${id}-help` }, help, " ", el("span", { class: "range" }, shown)), slot);
    this.fields.set(name, { input, slider, slot, range: shown, show });
    return row;
  }

  area(name, label, help, sample, example = false) {
    const id = `set-${name}`;
    const input = el("textarea", { id, rows: name === "system" ? 3 : 2, placeholder: example ? "" : sample, spellcheck: name === "system",
      "aria-describedby": `${id}-help ${id}-problem`, class: example ? "mono" : null });
    const slot = el("p", { class: "problem", id: `${id}-problem` });
    const show = (value) => { if (input.value !== (value ?? "")) input.value = value ?? ""; };
    input.addEventListener("input", () => this.set(name, input.value));
    this.fields.set(name, { input, slot, show });
    const fill = example && el("button", { type: "button", class: "small", on: { click: () => this.set(name, sample) } }, "Fill in an example");
    return el("div", { class: "control wide" }, el("label", { for: id }, label),
      el("p", { class: "help", id: `${id}-help` }, help), input, slot, fill || null);
  }

  text(name, label, help, sample) {
    const id = `set-${name}`;
    const input = el("input", { id, type: "text", placeholder: sample, autocomplete: "off", "aria-describedby": `${id}-help ${id}-problem` });
    const slot = el("p", { class: "problem", id: `${id}-problem` });
    input.addEventListener("input", () => this.set(name, input.value.trim()));
    this.fields.set(name, { input, slot, show: (value) => { if (input.value.trim() !== (value ?? "")) input.value = value ?? ""; } });
    return el("div", { class: "control wide" }, el("label", { for: id }, label),
      el("p", { class: "help", id: `${id}-help` }, help), input, slot);
  }

  check(name, label, help) {
    const id = `set-${name}`;
    const input = el("input", { id, type: "checkbox", "aria-describedby": `${id}-help` });
    input.addEventListener("change", () => this.set(name, input.checked));
    this.fields.set(name, { input, show: (value) => (input.checked = Boolean(value)) });
    return el("div", { class: "control tick" }, input, el("label", { for: id }, label),
      el("p", { class: "help", id: `${id}-help` }, help));
  }

  choice(name, label, help, options) {
    const id = `set-${name}`;
    const input = el("select", { id, "aria-describedby": `${id}-help` },
      Object.entries(options).map(([value, text]) => el("option", { value }, text)));
    input.addEventListener("change", () => this.set(name, input.value));
    this.fields.set(name, { input, show: (value) => (input.value = value ?? "") });
    return el("div", { class: "control wide" }, el("label", { for: id }, label),
      el("p", { class: "help", id: `${id}-help` }, help), input);
  }

  format() {
    const kinds = Object.fromEntries(Object.entries(FORMATS).map(([kind, { label }]) => [kind === "text" ? "" : kind, label]));
    const row = this.choice("format", "Answer in the form of", "The server masks every token that would break the form.", kinds);
    const { input, show } = this.fields.get("format");
    const box = this.area("form", "Form", "", "", false);
    const label = box.querySelector("label");
    const adapt = () => {
      const { box: name, sample } = FORMATS[input.value || "text"];
      box.hidden = !name;
      label.textContent = name ?? "";
      this.fields.get("form").input.placeholder = sample ?? "";
    };
    this.fields.get("form").input.classList.add("mono");
    this.fields.set("format", { input, show: (value) => { show(value); adapt(); } });
    input.addEventListener("change", () => {
      const { sample } = FORMATS[input.value || "text"];
      if (Object.values(FORMATS).some((one) => one.sample === this.values.form) || !this.values.form) this.set("form", sample ?? "");
      adapt();
    });
    adapt();
    return [row, box];
  }

  key() {
    const input = el("input", { id: "set-key", type: "password", autocomplete: "off", placeholder: "none needed on an open server",
      "aria-describedby": "set-key-help", value: getKey() });
    input.addEventListener("change", () => { setKey(input.value.trim()); this.changed(); });
    this.fields.set("api_key", { input, show: () => {} });
    return el("div", { class: "control wide" }, el("label", { for: "set-key" }, "API key"),
      el("p", { class: "help", id: "set-key-help" }, "Kept in this browser tab only, and forgotten when it closes."), input);
  }
}

const section = (title, open, ...rows) =>
  el("details", { class: "section", open }, el("summary", {}, el("h3", {}, title)), el("div", { class: "rows" }, ...rows.flat()));
