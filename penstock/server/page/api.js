// Talking to the server: the key, errors in plain words, and server-sent events over fetch (EventSource can neither
// post nor send a key).

const KEY = "penstock.key";

export const getKey = () => sessionStorage.getItem(KEY) ?? "";
export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
  window.dispatchEvent(new Event("penstock:key"));
}

/** What went wrong, in words for people; `status` is 0 when the server was not reached. */
export class Trouble extends Error {
  constructor(status, message, { param = null, code = null, hint = "" } = {}) {
    super(message);
    Object.assign(this, { status, param, code, hint });
  }
}

/** The server's origin with its path prefix, no slash at the end. */
export const base = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

/** Fetch a path; raise Trouble unless it answers 2xx. */
export async function call(path, { signal, body, accept = "application/json" } = {}) {
  const headers = { Accept: accept };
  if (getKey()) headers.Authorization = `Bearer ${getKey()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let reply;
  try {
    const method = body === undefined ? "GET" : "POST";
    reply = await fetch(base() + path, {
      method,
      headers,
      signal,
      body: body && JSON.stringify(body),
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(0, "The server did not answer.", {
      hint: "Is it still running, and can this device reach it?",
    });
  }
  if (!reply.ok) throw await troubleOf(reply);
  return reply;
}

async function troubleOf(reply) {
  let error = {};
  try {
    error = (await reply.json()).error ?? {};
  } catch {
    // a proxy's page, not ours
  }
  return fromError(error, reply.status, reply.headers.get("Retry-After"));
}

/** Put an OpenAI-shaped error into words. */
export function fromError(error, status = 0, retryAfter = null) {
  const wait = retryAfter ? ` Try again in about ${retryAfter} s.` : "";
  const said = error.message ?? "";
  const more = { param: error.param, code: error.code };
  const hints = {
    401: "Enter the key under Settings, Connection. It stays in this browser tab only.",
    403: "The key is right, but it may not do this.",
    404: "Reload the page if the server was restarted with another model.",
    413: "The request is larger than this server accepts.",
    429: `Too many requests at the moment for this key or tenant.${wait}`,
    503: `The server cannot take this now.${wait}`,
    504: "The request took longer than its deadline allowed.",
  };
  const fallback = status
    ? `The server answered with status ${status}.`
    : "The server ended the answer with an error.";
  const field = error.param ? `Look at the field “${error.param}”.` : "";
  const hint = hints[status] ?? (status >= 500 ? "The server's log has the cause." : field);
  return new Trouble(status, said || fallback, { ...more, hint });
}

/** Yield {event, data} for each server-sent event of a reply. */
export async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const found = { event: "message", data: [] };
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("data:")) found.data.push(line.slice(5).replace(/^ /, ""));
    else if (line.startsWith("event:")) found.event = line.slice(6).trim();
  }
  return { event: found.event, data: found.data.join("\n") };
}
