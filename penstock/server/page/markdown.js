// A small Markdown renderer that builds DOM nodes and nothing else: what a model writes cannot become markup. It reads
// what models write: headings, lists, quotes, fences, tables, rules; code, bold, italics and http(s) links in a line.

import { copies, el } from "./dom.js";

const FENCE = /^\s*(```+|~~~+)\s*([\w+#.-]*)/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const ROW = /^\s*\|?(.+\|.+?)\|?\s*$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const LONGEST = 60000; // characters; beyond it plain text, so that a huge answer stays cheap

/** Return a fragment that shows a text. */
export function markdown(text) {
  const out = document.createDocumentFragment();
  if (text.length > LONGEST) {
    out.append(el("p", { class: "plain" }, text));
    return out;
  }
  out.append(...blocks(text.replace(/\r\n?/g, "\n").split("\n")));
  return out;
}

function blocks(lines, depth = 0) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const [node, next] = block(lines, at, depth);
    if (node) nodes.push(node);
    at = next;
  }
  return nodes;
}

function block(lines, at, depth) {
  const line = lines[at];
  if (!line.trim()) return [null, at + 1];
  if (FENCE.test(line)) return fence(lines, at);
  if (RULE.test(line)) return [el("hr"), at + 1];
  const heading = HEADING.exec(line);
  if (heading)
    return [
      el(
        "p",
        { class: "heading", role: "heading", "aria-level": Math.min(6, heading[1].length + 3) },
        inline(heading[2]),
      ),
      at + 1,
    ];
  if (depth < 6 && line.startsWith(">")) return quote(lines, at, depth);
  if (depth < 6 && ITEM.test(line)) return list(lines, at, depth);
  if (ROW.test(line) && DIVIDER.test(lines[at + 1] ?? "") && lines[at + 1].includes("-"))
    return table(lines, at);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !starts(lines[end])) end += 1;
  const parts = lines
    .slice(at, end)
    .flatMap((one, index) => (index ? [el("br"), ...inline(one)] : inline(one)));
  return [el("p", {}, parts), end];
}

const starts = (line) => FENCE.test(line) || ITEM.test(line) || HEADING.test(line) || line.startsWith(">");

function fence(lines, at) {
  const [, mark, language] = FENCE.exec(lines[at]);
  let end = at + 1;
  while (end < lines.length && !lines[end].trim().startsWith(mark)) end += 1;
  const code = lines.slice(at + 1, end).join("\n");
  const button = copies(el("button", { type: "button", class: "small quiet" }, "Copy"), () => code);
  const head = el("div", { class: "fence-head" }, el("span", {}, language || "code"), button);
  const body = el(
    "pre",
    { tabindex: "0", role: "region", "aria-label": language ? `Code, ${language}` : "Code" },
    el("code", {}, code),
  );
  return [el("div", { class: "fence" }, head, body), end + 1];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && lines[end].startsWith(">")) end += 1;
  return [
    el(
      "blockquote",
      {},
      blocks(
        lines.slice(at, end).map((line) => line.replace(/^>\s?/, "")),
        depth + 1,
      ),
    ),
    end,
  ];
}

function list(lines, at, depth) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const node = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(mark, 10) } : {});
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    if (!item || item[1].length !== indent.length || /\d/.test(item[2]) !== ordered) break;
    const inner = [item[3]];
    end += 1;
    const deeper = (line) => /^\s/.test(line) && line.search(/\S/) > indent.length;
    while (
      end < lines.length &&
      (deeper(lines[end]) || (!lines[end].trim() && deeper(lines[end + 1] ?? "")))
    ) {
      inner.push(lines[end].slice(Math.min(indent.length + 2, Math.max(0, lines[end].search(/\S/)))));
      end += 1;
    }
    if (!lines[end]?.trim() && ITEM.test(lines[end + 1] ?? "")) end += 1; // a loose list
    node.append(el("li", {}, inner.length === 1 ? inline(inner[0]) : blocks(inner, depth + 1)));
  }
  return [node, end];
}

function table(lines, at) {
  const cells = (line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => inline(cell.trim()));
  const head = el(
    "tr",
    {},
    cells(lines[at]).map((cell) => el("th", { scope: "col" }, cell)),
  );
  const body = el("tbody");
  let end = at + 2;
  while (end < lines.length && ROW.test(lines[end])) {
    body.append(
      el(
        "tr",
        {},
        cells(lines[end]).map((cell) => el("td", {}, cell)),
      ),
    );
    end += 1;
  }
  const wide = el("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "Table" });
  wide.append(el("table", {}, el("thead", {}, head), body));
  return [wide, end];
}

const INLINE = new RegExp(
  [
    "(?<tick>`+)(?<code>.+?)\\k<tick>(?!`)",
    "\\*\\*(?=\\S)(?<bold>.+?)(?<=\\S)\\*\\*",
    "(?<!\\w)__(?=\\S)(?<bold2>.+?)(?<=\\S)__(?!\\w)",
    "\\*(?=[^\\s*])(?<it>[^*]+?)(?<=\\S)\\*",
    "(?<!\\w)_(?=\\S)(?<it2>[^_]+?)(?<=\\S)_(?!\\w)",
    "\\[(?<label>[^\\]\\n]{1,300})\\]\\((?<href>https?:\\/\\/[^\\s)]{1,2000})\\)",
    "(?<url>https?:\\/\\/[^\\s<>\"')\\]]{1,2000}[^\\s<>\"')\\].,;:!?])",
  ].join("|"),
);

function inline(text, depth = 0) {
  const nodes = [];
  let rest = text;
  for (let found; depth < 5 && (found = INLINE.exec(rest));) {
    if (found.index) nodes.push(rest.slice(0, found.index));
    const { code, bold, bold2, it, it2, label, href, url } = found.groups;
    if (code !== undefined) nodes.push(el("code", {}, code));
    else if (href ?? url) nodes.push(link(href ?? url, label ?? url));
    else nodes.push(el((bold ?? bold2) ? "strong" : "em", {}, inline(bold ?? bold2 ?? it ?? it2, depth + 1)));
    rest = rest.slice(found.index + found[0].length);
  }
  if (rest) nodes.push(rest);
  return nodes;
}

const link = (href, label) => el("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
