// The conversation: kept in memory, sent whole with every request, streamed answers put on screen as they come.

import { Trouble, call, events, fromError } from "./api.js";
import { TRIES } from "./controls.js";
import { byId, el, plural, say } from "./dom.js";
import { buildRequest } from "./request.js";
import { Asked, Answered } from "./turn.js";

export class Chat {
  /** `settings` is the panel; `sketch(body, problems)` shows the request that would be sent. */
  constructor(settings, sketch, needKey) {
    Object.assign(this, { settings, sketch, needKey, model: null, turns: [], busy: null });
    this.prompt = byId("prompt");
    this.scroll = byId("scroll");
    this.follow = true;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.prompt.addEventListener("input", () => {
      this.fit();
      this.preview();
    });
    this.prompt.addEventListener("keydown", (event) => this.key(event));
    byId("stop").addEventListener("click", () => this.stop());
    byId("clear").addEventListener("click", () => this.clear());
    byId("playground").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.busy) this.stop();
    });
    this.scroll.addEventListener("scroll", () => {
      this.follow = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 48;
    });
    byId("tries").append(
      ...TRIES.map((one) =>
        el(
          "li",
          {},
          el(
            "button",
            { type: "button", on: { click: () => this.attempt(one) } },
            el("b", {}, one.title),
            el("span", {}, one.note),
          ),
        ),
      ),
    );
    this.preview();
  }

  attempt({ prompt, set }) {
    this.settings.preset(set);
    this.prompt.value = prompt;
    this.send();
  }

  key(event) {
    if (event.key === "ArrowUp" && !this.prompt.value && !this.busy) {
      const last = this.turns.findLast((turn) => turn.message?.role === "user");
      if (last) {
        event.preventDefault();
        last.edit();
      }
    }
    if (event.key !== "Enter" || event.isComposing || event.shiftKey) return;
    const touch = matchMedia("(pointer: coarse)").matches;
    if (touch && !event.ctrlKey && !event.metaKey) return; // there Enter writes a new line
    event.preventDefault();
    this.send();
  }

  fit() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${Math.min(this.prompt.scrollHeight + 2, 220)}px`;
  }

  /** The conversation as messages; turns that failed before any output are left out. */
  messages() {
    const found = [];
    for (const turn of this.turns) {
      if (turn.message) found.push(turn.message);
      else if (turn.heard) found.push(turn.answers[turn.chosen].message());
    }
    return found;
  }

  request(extra = []) {
    return buildRequest(this.model, this.settings.values, [...this.messages(), ...extra]);
  }

  preview() {
    const text = this.prompt.value.trim();
    const { body, problems } = this.request(text ? [{ role: "user", content: text }] : []);
    this.settings.mark(problems);
    this.sketch(body, problems);
  }

  send() {
    const text = this.prompt.value.trim();
    if (!text || this.busy) return;
    if (Object.keys(this.request().problems).length) {
      this.preview();
      byId("open-panel").dispatchEvent(new Event("wanted"));
      return;
    }
    this.prompt.value = "";
    this.fit();
    this.ask([{ role: "user", content: text }]);
  }

  ask(messages) {
    for (const message of messages) {
      const turn = new Asked(message, (text) => this.rewrite(turn, text));
      this.add(turn);
    }
    return this.answer();
  }

  rewrite(turn, text) {
    if (this.busy) return;
    this.cut(this.turns.indexOf(turn));
    this.ask([{ role: "user", content: text }]);
    this.prompt.focus();
  }

  add(turn) {
    this.turns.push(turn);
    byId("turns").append(turn.root);
    byId("empty").hidden = true;
    byId("clear").disabled = false;
    this.follow = true;
    this.keepUp();
  }

  cut(from) {
    for (const turn of this.turns.splice(from)) turn.root.remove();
  }

  clear() {
    this.stop();
    this.cut(0);
    byId("empty").hidden = false;
    byId("clear").disabled = true;
    say(byId("spoken"), "Conversation cleared.");
    this.preview();
    this.prompt.focus();
  }

  retry(turn) {
    if (this.busy) return;
    this.cut(this.turns.indexOf(turn));
    this.answer();
  }

  stop() {
    this.busy?.abort();
  }

  setBusy(controller) {
    this.busy = controller;
    byId("stop").hidden = !controller;
    byId("send").hidden = Boolean(controller);
    if (!controller && (document.activeElement === document.body || document.activeElement === byId("stop")))
      this.prompt.focus();
  }

  keepUp() {
    if (this.follow) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  async answer() {
    const { body } = this.request();
    const turn = new Answered({
      count: body.n ?? 1,
      withTokens: Boolean(body.logprobs),
      retry: () => this.retry(turn),
      choose: () => this.preview(),
      reply: (results) => this.ask(results),
    });
    this.add(turn);
    this.preview();
    const controller = new AbortController();
    this.setBusy(controller);
    const voice = new Voice();
    const took = { began: performance.now(), first: null, last: null, usage: null, finish: null };
    const painter = setInterval(() => {
      turn.render();
      this.keepUp();
      voice.hear(turn.answers[0].text);
    }, 50);
    try {
      await this.read(
        await call("/v1/chat/completions", { body, signal: controller.signal, accept: "text/event-stream" }),
        turn,
        took,
      );
    } catch (error) {
      this.failed(error, turn, took);
    }
    clearInterval(painter);
    turn.render();
    const since = (time) => (time === null ? null : (time - took.began) / 1000);
    turn.setBusy(false);
    turn.measure({
      first: since(took.first),
      last: since(took.last),
      end: since(performance.now()),
      usage: took.usage,
      finish: took.finish,
    });
    if (took.finish === "tool_calls") turn.askTools();
    if (this.busy === controller) this.setBusy(null);
    voice.end(turn.answers[0].text, took);
    this.keepUp();
    this.preview();
  }

  async read(reply, turn, took) {
    for await (const { data } of events(reply)) {
      if (data === "[DONE]") continue; // the reply ends by itself right after
      const chunk = JSON.parse(data);
      if (chunk.error) throw fromError(chunk.error);
      took.usage = chunk.usage ?? took.usage;
      for (const choice of chunk.choices ?? []) {
        took.finish = choice.finish_reason ?? took.finish;
        if (!turn.answers[choice.index]?.take(choice)) continue;
        turn.heard = true;
        took.last = performance.now();
        took.first ??= took.last;
      }
    }
    if (!took.finish)
      throw new Trouble(0, "The connection broke before the answer was complete.", {
        hint: "What arrived is kept.",
      });
  }

  failed(error, turn, took) {
    if (error.name === "AbortError") {
      took.finish = "stopped";
      return;
    }
    took.finish = "error";
    const broken = error instanceof TypeError || error.status === undefined;
    const trouble = broken
      ? new Trouble(0, "The connection broke before the answer was complete.", {
          hint: "What arrived is kept.",
        })
      : error;
    turn.fail(trouble, trouble.status === 401 ? ["Enter a key", this.needKey] : null);
    const fields = {
      response_format: "form",
      structured_outputs: "form",
      max_completion_tokens: "max_tokens",
    };
    const name = fields[trouble.param?.split(/[.[]/)[0]] ?? trouble.param?.split(/[.[]/)[0];
    if (this.settings.fields.has(name)) setTimeout(() => this.settings.mark({ [name]: trouble.message }));
  }
}

/** Reads an answer out to screen readers: by whole sentences, at most every two seconds, and how it ended. */
class Voice {
  constructor() {
    this.at = 0;
    this.last = performance.now();
    say(byId("spoken"), "The model is answering.");
  }

  hear(text) {
    const now = performance.now();
    const end =
      Math.max(
        text.lastIndexOf(". "),
        text.lastIndexOf("\n"),
        text.lastIndexOf("! "),
        text.lastIndexOf("? "),
      ) + 1;
    if (now - this.last < 2000 || end <= this.at) return;
    say(byId("spoken"), text.slice(this.at, end));
    Object.assign(this, { at: end, last: now });
  }

  end(text, { usage, finish }) {
    const how = { stopped: "Stopped.", error: "The answer failed." }[finish] ?? "Answer complete.";
    const size = usage ? ` ${plural(usage.completion_tokens, "token")}.` : "";
    say(byId("spoken"), `${text.slice(this.at)} ${how}${size}`);
  }
}
