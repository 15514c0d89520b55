// An answer's tokens coloured by their probability; the one pointed at (or reached by arrow keys) is explained below.

import { el, percent } from "./dom.js";

const STEPS = [0.9, 0.7, 0.5, 0.3, 0.1]; // classes p0 (sure) to p5 (a surprise)

/** Return {root, add(scores)}: scores are OpenAI's logprobs.content entries. */
export function tokenView() {
  const text = el("div", {
    class: "tokens",
    tabindex: "0",
    role: "group",
    "aria-label": "Tokens coloured by probability. The arrow keys go from token to token.",
  });
  const note = el("p", { class: "token-note", "aria-live": "polite" }, legend());
  const all = [];
  let current = -1;
  const pick = (index) => {
    if (index < 0 || index >= all.length || index === current) return;
    all[current]?.node.classList.remove("picked");
    current = index;
    all[index].node.classList.add("picked");
    note.replaceChildren(...explain(all[index].score));
  };
  text.addEventListener("pointerover", (event) => pick(all.findIndex(({ node }) => node === event.target)));
  text.addEventListener("click", (event) => pick(all.findIndex(({ node }) => node === event.target)));
  text.addEventListener("keydown", (event) => {
    const to = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    pick(to);
  });
  const add = (scores) => {
    for (const score of scores) {
      const share = Math.exp(score.logprob);
      const step = STEPS.findIndex((bound) => share >= bound);
      const node = el("span", { class: `p${step < 0 ? STEPS.length : step}` }, score.token);
      all.push({ node, score });
      text.append(node);
    }
  };
  return { root: el("div", {}, text, note), add };
}

function explain({ token, logprob, top_logprobs: top }) {
  const others = top.filter((one) => one.token !== token);
  const parts = [el("b", {}, shown(token)), ` ${chance(logprob)}`];
  if (others.length) parts.push(", else: ");
  others.forEach((one, index) =>
    parts.push(index ? ", " : "", el("b", {}, shown(one.token)), ` ${chance(one.logprob)}`),
  );
  return parts;
}

function chance(logprob) {
  const share = Math.exp(logprob);
  return share < 0.001 ? "under 0.1 %" : percent(share);
}

const shown = (token) => `“${token.replaceAll("\n", "⏎").replaceAll("\t", "⇥")}”`;

function legend() {
  const marks = [...STEPS, 0].map((bound, index) =>
    el("span", { class: `p${index}` }, bound ? `≥ ${bound * 100} %` : "less"),
  );
  return el("span", { class: "legend" }, "Probability: ", marks);
}
