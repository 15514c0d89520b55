// OpenAI's Node client. In a folder with `npm i openai`: node openai_node.mjs --base-url http://...
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const given = process.argv.indexOf("--base-url");
const root = (given < 0 ? "http://127.0.0.1:8000" : process.argv[given + 1]).replace(/\/+(v1)?$/, "");
const require = createRequire(join(process.cwd(), "here.js")); // the package lies where the script is run
const OpenAI = require("openai").default ?? require("openai");
const { version } = JSON.parse(
  (await import("node:fs")).readFileSync(join(process.cwd(), "node_modules/openai/package.json"), "utf8"),
);
const client = new OpenAI({ baseURL: `${root}/v1`, apiKey: "none", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Count from two to five." }];
const parameters = {
  type: "object",
  properties: { city: { enum: ["Rome", "Oslo"] } },
  required: ["city"],
  additionalProperties: false,
};
const chat = (more) =>
  client.chat.completions.create({ model, messages, max_tokens: 24, temperature: 0, ...more });

const checks = {
  async chat() {
    const reply = await chat();
    assert.ok(reply.choices[0].message.content);
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
  },
  async stream() {
    let text = "";
    for await (const chunk of await chat({ stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, (await chat()).choices[0].message.content);
  },
  async stream_helper() {
    const stream = client.chat.completions.stream({ model, messages, max_tokens: 8 });
    assert.equal(typeof (await stream.finalContent()), "string");
  },
  async left_stream() {
    const stream = await chat({ stream: true, max_tokens: 200 });
    for await (const chunk of stream) if (chunk) break; // leaves in the middle
    assert.ok((await chat({ max_tokens: 2 })).id);
  },
  async completions_and_logprobs() {
    const reply = await client.completions.create({ model, prompt: "One", max_tokens: 3, logprobs: 1, n: 2 });
    assert.equal(reply.choices.length, 2);
    const scored = await chat({ logprobs: true, top_logprobs: 2 });
    assert.equal(scored.choices[0].logprobs.content[0].top_logprobs.length, 2);
  },
  async errors() {
    await assert.rejects(chat({ temperature: -1 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
    await assert.rejects(chat({ model: "nobody" }), OpenAI.NotFoundError);
  },
  async embeddings() {
    const reply = await client.embeddings.create({ model, input: ["a", "b"] });
    assert.equal(reply.data.length, 2);
    assert.equal(typeof reply.data[0].embedding[0], "number");
  },
  async json_schema() {
    const schema = { ...parameters };
    const reply = await chat({
      max_tokens: 200,
      response_format: { type: "json_schema", json_schema: { name: "a", schema, strict: true } },
    });
    assert.ok(["Rome", "Oslo"].includes(JSON.parse(reply.choices[0].message.content).city));
  },
  async tools() {
    const tools = [{ type: "function", function: { name: "weather", parameters } }];
    const reply = await chat({ tools, tool_choice: "required", max_tokens: 200 });
    assert.equal(reply.choices[0].finish_reason, "tool_calls");
    assert.equal(reply.choices[0].message.tool_calls[0].function.name, "weather");
  },
  async responses() {
    const reply = await client.responses.create({ model, input: "Count.", max_output_tokens: 12 });
    assert.equal(typeof reply.output_text, "string");
    const kinds = [];
    const stream = await client.responses.create({ model, input: "Count.", max_output_tokens: 8, stream: true });
    for await (const event of stream) kinds.push(event.type);
    assert.equal(kinds[0], "response.created");
  },
};

let failed = 0;
for (const [name, run] of Object.entries(checks)) {
  try {
    await run();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n${error.stack}`);
  }
}
console.log(`openai (node) ${version}: ${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
