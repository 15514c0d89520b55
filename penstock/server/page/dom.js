// Elements and numbers. Text only ever becomes text nodes; nothing here or elsewhere parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on")
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** Return a new element: el("p", {class: "help", on: {click}}, "text", child). */
export const el = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** Return a new SVG element. */
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const byId = (id) => document.getElementById(id);

/** Replace an element's text, only when it changed (a live region speaks at every write). */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** 1234567 -> "1,234,567". */
export const whole = (value) => Math.round(value).toLocaleString("en");

/** Three significant digits, thousands grouped: 0.0123, 1.23, 12.3, 1,234; 12.3 M above a million. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${short(value / 1e9)} G`;
  if (size >= 1e6) return `${short(value / 1e6)} M`;
  if (size >= 100 || Number.isInteger(value)) return whole(value);
  return String(Number(value.toPrecision(size >= 10 ? 3 : 2)));
}

/** Seconds with the unit that reads best. */
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 0.001) return `${short(value * 1e6)} µs`;
  if (value < 1) return `${short(value * 1e3)} ms`;
  if (value < 120) return `${short(value)} s`;
  return value < 7200 ? `${short(value / 60)} min` : `${short(value / 3600)} h`;
}

/** Seconds that count up: 43 s, 12 min, 3 h 5 min, 2 d 4 h. */
export function duration(value) {
  const [days, hours, minutes] = [value / 86400, (value / 3600) % 24, (value / 60) % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${Math.floor(value)} s`;
}

export const percent = (share) =>
  Number.isFinite(share) ? `${short(Math.round(share * 1000) / 10)} %` : "–";

export const plural = (count, word, words = `${word}s`) => `${whole(count)} ${count === 1 ? word : words}`;

/** Copy a text; return whether it worked (needs a secure origin or an old-style copy). */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = el("textarea", { class: "hidden", value: text });
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}

/** Make a button copy what `text()` returns and say so for a moment. */
export function copies(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text())) ? "Copied" : "Not allowed here";
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}
