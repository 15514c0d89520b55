// A request as JSON, as a curl command and as Python with the openai client.

import { base, getKey } from "./api.js";

const OPENAI = new Set([
  "model",
  "messages",
  "temperature",
  "top_p",
  "max_tokens",
  "seed",
  "n",
  "presence_penalty",
  "frequency_penalty",
  "stop",
  "logprobs",
  "top_logprobs",
  "response_format",
  "tools",
  "tool_choice",
  "stream",
  "stream_options",
]);
const KEY_VARIABLE = "PENSTOCK_API_KEY";

export const FORMS = { json: "JSON", curl: "curl", python: "Python" };
export const NOTES = {
  json: "",
  curl: "Works in any POSIX shell. The key, if any, is read from the variable PENSTOCK_API_KEY and never copied.",
  python: "Needs “pip install openai”. Fields that are not OpenAI's travel in extra_body.",
};

/** Return the text of a request body in one of `FORMS`. */
export function snippet(form, body) {
  return { json: () => JSON.stringify(body, null, 2), curl: () => curl(body), python: () => python(body) }[
    form
  ]();
}

function curl(body) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const key = getKey() ? `  -H "Authorization: Bearer $${KEY_VARIABLE}" \\\n` : "";
  return `curl -N '${base()}/v1/chat/completions' \\\n  -H 'Content-Type: application/json' \\\n${key}  -d '${quoted}'`;
}

function python(body) {
  const own = Object.entries(body).filter(([name]) => OPENAI.has(name));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !OPENAI.has(name)));
  const fields = own.map(([name, value]) => `    ${name}=${literal(value, 1)},\n`).join("");
  const more = Object.keys(extra).length ? `    extra_body=${literal(extra, 1)},\n` : "";
  const key = getKey() ? `os.environ["${KEY_VARIABLE}"]` : '"none"';
  return `${getKey() ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(
    base_url="${base()}/v1",
    api_key=${key},
)
stream = client.chat.completions.create(
${fields}${more})
for chunk in stream:
    if chunk.choices:
        text = chunk.choices[0].delta.content
        print(text or "", end="", flush=True)
`;
}

/** A JSON value as Python source; JSON strings are Python strings but for lone surrogates and U+007F. */
function literal(value, depth) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const list = Array.isArray(value);
  const [open, close] = list ? "[]" : "{}";
  const items = list
    ? value.map((one) => literal(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one, depth + 1)}`);
  const line = open + items.join(", ") + close;
  if (line.length < 72 && !line.includes("\n")) return line;
  const pad = "    ".repeat(depth);
  return `${open}\n${items.map((one) => `${pad}    ${one},\n`).join("")}${pad}${close}`;
}
