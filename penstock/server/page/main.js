// The frame: which view is shown, the header's state, the theme, and the panel of the playground.

import { call } from "./api.js";
import { Chat } from "./chat.js";
import { byId, copies, el, say, svg, whole } from "./dom.js";
import { Live } from "./live.js";
import { Settings } from "./settings.js";
import { FORMS, NOTES, snippet } from "./snippets.js";
import { tabs } from "./tabs.js";

const THEMES = {
  auto: ["as the system", "M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16zM12 4v16M12 8.5h6.4M12 12h7.6M12 15.5h6.4"],
  light: [
    "light",
    "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  ],
  dark: ["dark", "M20 14a8 8 0 1 1-10-10a7 7 0 0 0 10 10z"],
};

function theme() {
  const button = byId("theme");
  let now = localStorage.getItem("penstock.theme") ?? "auto";
  const show = () => {
    const [name, path] = THEMES[now] ?? THEMES.auto;
    if (now === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = now;
    button.setAttribute("aria-label", `Theme: ${name}`);
    button.title = `Theme: ${name}`;
    const icon = svg("path", {
      d: path,
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    });
    button.replaceChildren(svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, icon));
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    now = names[(names.indexOf(now) + 1) % names.length];
    localStorage.setItem("penstock.theme", now);
    show();
  });
  show();
}

function views(onShow) {
  const show = () => {
    const live = location.hash === "#/live";
    byId("live").hidden = !live;
    byId("playground").hidden = live;
    for (const [id, here] of [
      ["nav-live", live],
      ["nav-playground", !live],
    ]) {
      if (here) byId(id).setAttribute("aria-current", "page");
      else byId(id).removeAttribute("aria-current");
    }
    document.title = `${live ? "Live" : "Playground"} · Penstock`;
    onShow(live);
  };
  window.addEventListener("hashchange", () => {
    if (location.hash.startsWith("#/")) show();
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  show();
}

/** The panel: a column beside the talk, or a sheet over it where there is no room for both. */
function panel() {
  const sheet = byId("panel");
  const opener = byId("open-panel");
  const set = (open) => {
    sheet.classList.toggle("is-open", open);
    opener.setAttribute("aria-expanded", open);
    byId("talk").inert = open;
    (open ? byId("close-panel") : opener).focus();
  };
  opener.addEventListener("click", () => set(true));
  opener.addEventListener("wanted", () => {
    if (opener.offsetParent) set(true);
  });
  byId("close-panel").addEventListener("click", () => set(false));
  sheet.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && sheet.classList.contains("is-open")) set(false);
  });
  matchMedia("(max-width: 860px)").addEventListener("change", ({ matches }) => {
    if (!matches) {
      sheet.classList.remove("is-open");
      byId("talk").inert = false;
    }
  });
  return set;
}

function requestView() {
  let body = {};
  let form = "json";
  const show = () => {
    say(byId("code"), snippet(form, body));
    say(byId("request-note"), NOTES[form]);
  };
  byId("forms").append(
    ...Object.entries(FORMS).map(([name, label]) => {
      const input = el("input", { type: "radio", name: "form", value: name, checked: name === form });
      input.addEventListener("change", () => {
        form = name;
        show();
      });
      return el("label", {}, input, label);
    }),
  );
  copies(byId("copy"), () => snippet(form, body));
  window.addEventListener("penstock:key", show);
  return (next) => {
    body = next;
    show();
  };
}

/** Ask which model is served; until it is known the request names none. */
async function model(chat, settings) {
  try {
    const { data } = await (await call("/v1/models")).json();
    const { id, max_model_len: context } = data[0];
    chat.model = id;
    byId("model").replaceChildren(el("b", {}, id), ` · ${whole(context)} tokens of context`);
    say(byId("empty-model"), id);
    settings.context(context);
  } catch (error) {
    byId("model").replaceChildren(
      error.status === 401 ? "An API key is needed" : "The model is not known yet",
    );
  }
  chat.preview();
}

/** Show the engine's state in the header. */
function showHealth({ status, restarts }) {
  byId("health").dataset.state = status;
  const text = status === "lost" ? "no connection" : status;
  say(byId("health-text"), restarts ? `${text}, ${restarts}× restarted` : text);
}

/** Ask for it: slowly, as the live view hears of it at once. */
async function askHealth() {
  try {
    showHealth(await (await fetch("health", { cache: "no-store" })).json());
  } catch {
    showHealth({ status: "lost" });
  }
}

function start() {
  theme();
  const openPanel = panel();
  const choose = tabs(document.querySelector(".tabs"));
  const sketch = requestView();
  const settings = new Settings(byId("settings"), () => chat?.preview());
  const needKey = () => {
    choose(byId("tab-settings"));
    if (byId("open-panel").offsetParent) openPanel(true);
    const { input } = settings.fields.get("key");
    input.closest("details").open = true;
    input.focus();
  };
  let chat = null;
  chat = new Chat(settings, sketch, needKey);
  byId("reset").addEventListener("click", () => settings.reset());
  window.addEventListener("penstock:key", () => model(chat, settings));
  model(chat, settings);
  askHealth();
  setInterval(() => {
    if (!document.hidden) askHealth();
  }, 5000);
  const live = new Live(showHealth, () => {
    location.hash = "#/playground";
    setTimeout(needKey);
  });
  views((shown) => live.show(shown));
}

start();
