// What can be set for a request: the words, ranges and examples of the settings panel.

/** Numbers; `rest` is where the slider stands while nothing is set, `open` means that larger values may be typed. */
export const SAMPLING = [
  {
    name: "temperature",
    label: "Temperature",
    ...{ min: 0, max: 2, step: 0.05, rest: 1 },
    help: "How freely tokens are drawn: 0 always takes the likeliest, above 1 gets wild.",
  },
  {
    name: "top_p",
    label: "Top p",
    ...{ min: 0.01, max: 1, step: 0.01, rest: 1 },
    help: "Draw from the likeliest tokens that make up this probability together.",
  },
  {
    name: "top_k",
    label: "Top k",
    ...{ min: 0, max: 200, step: 1, rest: 0, open: true, range: "0 or more" },
    help: "Draw from the k likeliest tokens; 0 keeps all.",
  },
  {
    name: "min_p",
    label: "Min p",
    ...{ min: 0, max: 1, step: 0.01, rest: 0 },
    help: "Drop tokens below this share of the likeliest one's probability.",
  },
  {
    name: "max_tokens",
    label: "Most tokens",
    ...{ min: 1, max: 2048, step: 1, rest: 2048, open: true },
    help: "End the answer after so many tokens.",
  },
  {
    name: "seed",
    label: "Seed",
    ...{ step: 1, range: "any whole number" },
    help: "The same seed gives the same answer, whatever else is running.",
  },
  {
    name: "n",
    label: "Answers",
    ...{ min: 1, max: 8, step: 1, rest: 1 },
    help: "So many answers at once; they share the prompt's memory.",
  },
];

export const PENALTIES = [
  {
    name: "presence_penalty",
    label: "Presence penalty",
    ...{ min: -2, max: 2, step: 0.1, rest: 0 },
    help: "Above 0: avoid tokens that the answer has already used.",
  },
  {
    name: "frequency_penalty",
    label: "Frequency penalty",
    ...{ min: -2, max: 2, step: 0.1, rest: 0 },
    help: "The same, by how often they were used.",
  },
  {
    name: "repetition_penalty",
    label: "Repetition penalty",
    ...{ min: 0.1, max: 2, step: 0.05, rest: 1 },
    help: "Above 1: hold down tokens seen in the prompt or the answer.",
  },
];

/** Forms of an answer; those with a `box` need a text, for which `sample` is an example. */
export const FORMATS = {
  "": { label: "Free text" },
  json_object: { label: "JSON, any object" },
  json_schema: {
    label: "JSON of a schema",
    box: "JSON schema",
    sample:
      '{\n  "type": "object",\n  "properties": {"city": {"type": "string"}},\n  "required": ["city"]\n}',
  },
  regex: {
    label: "Regular expression",
    box: "Regular expression",
    sample: "(yes|no), because [a-z ]{5,40}\\.",
  },
  choice: { label: "One of these", box: "Choices, one per line", sample: "yes\nno" },
};

export const TOOLS = JSON.stringify(
  [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "Weather of a city",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
  null,
  2,
);

/** Suggestions for an empty conversation: what is asked, and the settings that it needs. */
export const TRIES = [
  {
    title: "Tell a short story",
    note: "A plain streamed answer.",
    prompt: "Tell me a short story about a fox.",
    set: {},
  },
  {
    title: "See how sure it is",
    note: "Each token coloured by its probability.",
    prompt: "What is 12 plus 7?",
    set: { logprobs: true, temperature: 0 },
  },
  {
    title: "Three answers at once",
    note: "They share the memory of the prompt.",
    prompt: "Tell me a joke.",
    set: { n: 3, temperature: 1 },
  },
  {
    title: "Only in a given form",
    note: "Tokens that would break it are masked.",
    prompt: "List three fruits.",
    set: { format: "regex", form: "1\\. [A-Za-z]+\\n2\\. [A-Za-z]+\\n3\\. [A-Za-z]+", temperature: 0 },
  },
];
