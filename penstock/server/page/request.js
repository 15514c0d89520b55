// From settings and conversation to the body of /v1/chat/completions, with what is wrong with it in words.

const NUMBERS = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "max_tokens",
  "seed",
  "n",
  "presence_penalty",
  "frequency_penalty",
  "repetition_penalty",
];
const WHOLE = new Set(["top_k", "max_tokens", "seed", "n"]);
const RANGES = {
  temperature: [0, 100],
  top_p: [Number.MIN_VALUE, 1],
  top_k: [0, 2 ** 53],
  min_p: [0, 1],
  max_tokens: [1, 2 ** 53],
  n: [1, 128],
  seed: [-(2 ** 53), 2 ** 53],
  presence_penalty: [-2, 2],
  frequency_penalty: [-2, 2],
  repetition_penalty: [Number.MIN_VALUE, 100],
};

/** Return {body, problems}: problems is {setting: text}, empty when the body can be sent. */
export function buildRequest(model, settings, messages) {
  const problems = {};
  const body = { model, messages: [...messages] };
  if (settings.system) body.messages.unshift({ role: "system", content: settings.system });
  for (const name of NUMBERS) {
    if (settings[name] === undefined) continue;
    const problem = fault(name, settings[name]);
    if (problem) problems[name] = problem;
    else body[name] = settings[name];
  }
  const stops = (settings.stop ?? "").split("\n").filter(Boolean);
  if (stops.length) body.stop = stops;
  if (settings.logprobs) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  if (settings.tenant) {
    if (/^[\x21-\x7e]{1,256}$/.test(settings.tenant)) body.tenant = settings.tenant;
    else problems.tenant = "Letters, digits and signs without blanks, please.";
  }
  putFormat(body, settings, problems);
  putTools(body, settings, problems);
  return { body: { ...body, stream: true, stream_options: { include_usage: true } }, problems };
}

function fault(name, value) {
  const [low, high] = RANGES[name];
  if (!Number.isFinite(value)) return "This must be a number.";
  if (WHOLE.has(name) && !Number.isInteger(value)) return "This must be a whole number.";
  if (value < low)
    return low === Number.MIN_VALUE ? "This must be above 0." : `This must be at least ${low}.`;
  return value > high ? `This must be at most ${high}.` : "";
}

function putFormat(body, { format, form }, problems) {
  if (!format) return;
  if (format === "json_object") body.response_format = { type: "json_object" };
  else if (!form?.trim()) problems.form = "This form needs a text here.";
  else if (format === "regex") body.structured_outputs = { regex: form };
  else if (format === "choice") body.structured_outputs = { choice: form.split("\n").filter(Boolean) };
  else {
    const schema = parsed(form, "form", problems);
    if (schema !== undefined)
      body.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
  }
}

function putTools(body, settings, problems) {
  if (!settings.tools?.trim()) return;
  const tools = parsed(settings.tools, "tools", problems);
  if (tools === undefined) return;
  if (!Array.isArray(tools)) problems.tools = "This must be a JSON list of tools.";
  else Object.assign(body, { tools }, settings.tool_choice ? { tool_choice: settings.tool_choice } : {});
}

function parsed(text, name, problems) {
  try {
    return JSON.parse(text);
  } catch (error) {
    problems[name] = `This is not valid JSON yet: ${error.message}`;
    return undefined;
  }
}
