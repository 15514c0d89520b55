// One turn of the conversation on screen: the user's text, or the model's answers with their figures.

import { copies, el, percent, plural, seconds, short, whole } from "./dom.js";
import { markdown } from "./markdown.js";
import { tokenView } from "./tokens.js";

const ENDS = {
  stop: "complete",
  length: "cut at the limit",
  tool_calls: "waits for a tool",
  content_filter: "filtered",
  stopped: "stopped by you",
  error: "failed",
};

const action = (label, name, click) =>
  el("button", { type: "button", class: "small quiet", "aria-label": name, on: { click } }, label);

/** A user's (or a tool's) message, with Edit. `resend(text)` replaces it and everything after. */
export class Asked {
  constructor(message, resend) {
    this.message = message;
    this.body = el("div", { class: "said" });
    const tool = message.role === "tool";
    this.root = el(
      "article",
      { class: `turn asked ${message.role}` },
      el(
        "header",
        {},
        el("h3", {}, tool ? "Tool's answer" : "You"),
        el("div", { class: "actions" }, tool ? null : action("Edit", "Edit this message", () => this.edit())),
      ),
      this.body,
    );
    this.resend = resend;
    this.show();
  }

  show() {
    this.body.replaceChildren(el("p", { class: "plain" }, this.message.content));
  }

  edit() {
    const box = el("textarea", { rows: 3, "aria-label": "Edit the message", value: this.message.content });
    const done = () => {
      if (box.value.trim()) this.resend(box.value);
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        done();
      }
      if (event.key === "Escape") {
        event.stopPropagation();
        this.show();
      }
    });
    this.body.replaceChildren(
      box,
      el(
        "div",
        { class: "row" },
        el("button", { type: "button", class: "primary small", on: { click: done } }, "Send again"),
        el("button", { type: "button", class: "small", on: { click: () => this.show() } }, "Cancel"),
        el("span", { class: "help" }, "What follows it is dropped."),
      ),
    );
    box.focus();
  }
}

/** One of the n answers of a turn: text, folded reasoning, tool calls. */
export class Answer {
  constructor(withTokens) {
    this.text = "";
    this.reasoning = "";
    this.calls = [];
    this.finish = null;
    this.tokens = withTokens ? tokenView() : null;
    this.said = el("div", { class: "said" }, this.tokens?.root ?? null);
    this.thought = el("p", { class: "plain" });
    this.thinking = el(
      "details",
      { class: "thinking", hidden: true },
      el("summary", {}, "Reasoning"),
      this.thought,
    );
    this.cards = el("div", { class: "calls" });
    this.root = el("div", { class: "answer" }, this.thinking, this.said, this.cards);
    this.dirty = false;
  }

  /** Take one choice of a chunk; return whether it brought any output. */
  take(choice) {
    const { content, reasoning_content: told, reasoning, tool_calls: calls } = choice.delta ?? {};
    const thought = told ?? reasoning; // the field's older and its newer name
    this.text += content ?? "";
    this.reasoning += thought ?? "";
    for (const call of calls ?? []) this.call(call);
    if (this.tokens && choice.logprobs?.content) this.tokens.add(choice.logprobs.content);
    this.finish = choice.finish_reason ?? this.finish;
    this.dirty = true;
    return Boolean(content || thought || calls?.length);
  }

  call({ index = 0, id, function: of = {} }) {
    const call = (this.calls[index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    call.id = id ?? call.id;
    call.function.name += of.name ?? "";
    call.function.arguments += of.arguments ?? "";
  }

  render() {
    if (!this.dirty) return;
    this.dirty = false;
    if (!this.tokens) this.said.replaceChildren(markdown(this.text));
    this.thinking.hidden = !this.reasoning;
    if (this.reasoning) this.thought.textContent = this.reasoning;
    if (this.calls.length) this.cards.replaceChildren(...this.calls.filter(Boolean).map(callCard));
  }

  message() {
    const calls = this.calls.filter(Boolean);
    return { role: "assistant", content: this.text, ...(calls.length ? { tool_calls: calls } : {}) };
  }
}

function callCard(call) {
  let shown = call.function.arguments;
  try {
    shown = JSON.stringify(JSON.parse(shown), null, 2);
  } catch {
    // still arriving
  }
  return el(
    "div",
    { class: "call" },
    el("p", {}, "Calls ", el("b", {}, el("code", {}, call.function.name || "…"))),
    el("pre", { tabindex: "0", role: "region", "aria-label": `Arguments of ${call.function.name}` }, shown),
  );
}

/** The model's turn: its n answers, the figures, and what can be done with it. */
export class Answered {
  constructor({ count, withTokens, retry, choose, reply }) {
    this.answers = Array.from({ length: count }, () => new Answer(withTokens));
    this.chosen = 0;
    this.choose = choose;
    this.reply = reply;
    this.figures = el("dl", { class: "figures" });
    this.trouble = el("div", { class: "trouble", role: "alert", hidden: true });
    this.again = action("Try again", "Answer this message again", retry);
    const copy = copies(
      action("Copy", "Copy this answer", () => {}),
      () => this.answers[this.chosen].text,
    );
    this.actions = el("div", { class: "actions" }, copy, this.again);
    this.bodies = el(
      "div",
      { class: count > 1 ? "several" : "single" },
      this.answers.map((one, index) => this.frame(one, index)),
    );
    this.tools = el("div");
    this.root = el(
      "article",
      { class: "turn answered" },
      el("header", {}, el("h3", {}, "Model"), this.actions),
      this.bodies,
      this.trouble,
      this.tools,
      this.figures,
    );
    this.setBusy(true);
  }

  frame(answer, index) {
    if (this.answers.length === 1) return answer.root;
    const pick = el("input", { type: "radio", name: `pick-${Answered.count++}`, checked: index === 0 });
    pick.name = this.group ??= pick.name;
    pick.addEventListener("change", () => {
      this.chosen = index;
      this.choose();
    });
    return el(
      "div",
      { class: "candidate" },
      el("label", {}, pick, ` Answer ${index + 1}: go on with this one`),
      answer.root,
    );
  }

  setBusy(busy) {
    this.root.classList.toggle("busy", busy);
    this.root.setAttribute("aria-busy", busy);
    this.actions.hidden = busy;
  }

  render() {
    for (const answer of this.answers) answer.render();
  }

  /** Show an error; `act` is an optional [label, function]. */
  fail(trouble, act) {
    this.trouble.replaceChildren(
      el("p", {}, el("b", {}, trouble.message)),
      trouble.hint ? el("p", {}, trouble.hint) : "",
      act ? el("button", { type: "button", class: "small", on: { click: act[1] } }, act[0]) : "",
    );
    this.trouble.hidden = false;
  }

  /** Show what the answer took. `took` has seconds; `usage` is OpenAI's, or null. */
  measure({ first, last, end, usage, finish }) {
    const made = usage?.completion_tokens;
    const spread = last - first;
    const pace = made > this.answers.length && spread > 0 ? (made - this.answers.length) / spread : null;
    const cached = usage?.prompt_tokens_details?.cached_tokens;
    const rows = [
      [
        "First token",
        first === null ? "–" : seconds(first),
        "Time from Send to the first token, as this browser saw it",
      ],
      ["Pace", pace === null ? "–" : `${short(pace)} tok/s`, "Tokens per second after the first"],
      ["Answer", made === undefined ? "–" : plural(made, "token"), "Tokens generated"],
      ["Prompt", usage ? plural(usage.prompt_tokens, "token") : "–", "Tokens of the conversation so far"],
      [
        "Cached",
        usage && cached !== undefined
          ? `${whole(cached)} (${percent(cached / Math.max(1, usage.prompt_tokens))})`
          : "–",
        "Prompt tokens that were not computed again",
      ],
      ["Took", seconds(end), "From Send to the last token"],
      ["End", ENDS[finish] ?? finish ?? "–", `finish_reason: ${finish ?? "none"}`],
    ];
    const known = rows.filter(([, value]) => value !== "–");
    this.figures.replaceChildren(
      ...known.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value))),
    );
  }

  /** Ask the person for the tools' results, once the answer waits for them. */
  askTools() {
    const calls = this.answers[this.chosen].calls.filter(Boolean);
    if (!calls.length) return;
    const boxes = calls.map((call) =>
      el("textarea", {
        rows: 2,
        class: "mono",
        placeholder: '{"result": …}',
        "aria-label": `Result of ${call.function.name}`,
      }),
    );
    const send = () => {
      this.tools.replaceChildren();
      this.reply(
        calls.map((call, index) => ({ role: "tool", tool_call_id: call.id, content: boxes[index].value })),
      );
    };
    this.tools.replaceChildren(
      el(
        "div",
        { class: "call reply" },
        el("p", { class: "help" }, "Play the tool: what does it answer?"),
        boxes,
        el("button", { type: "button", class: "small", on: { click: send } }, "Send the result"),
      ),
    );
  }
}
Answered.count = 0;
