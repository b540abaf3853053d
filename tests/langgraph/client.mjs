// LangGraph's JavaScript client: a stream, an interrupt, an answer, a stream that is gone on with.
// usage: node client.mjs URL
import assert from "node:assert";
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2], apiKey: null });
const collect = async (stream) => {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
};

const thread = await client.threads.create();
const streamed = await collect(
  client.runs.stream(thread.thread_id, "trivial", {
    input: { n: 1 },
    streamMode: ["values", "updates"],
    streamResumable: true,
  }),
);
assert.deepEqual(streamed.map((event) => event.event), ["metadata", "values", "updates", "values"]);
assert.deepEqual(streamed.at(-1).data, { n: 2, log: ["a"] });

const runId = streamed[0].data.run_id;
const again = await collect(client.runs.joinStream(thread.thread_id, runId, { lastEventId: streamed[1].id }));
assert.deepEqual(again.map((event) => event.event), ["updates", "values"]);

const asks = await client.threads.create();
const asked = await client.runs.wait(asks.thread_id, "hitl", { input: { n: 1 } });
assert.deepEqual(asked.__interrupt__[0].value, { q: "ok?" });
const answered = await client.runs.wait(asks.thread_id, "hitl", { command: { resume: "yes" } });
assert.deepEqual(answered, { n: 2, log: ["a", "answer=yes"] });

const history = await client.threads.getHistory(asks.thread_id, { limit: 10 });
assert.equal(history.at(-1).metadata.source, "input");
console.log("@langchain/langgraph-sdk: streamed, gone on with, interrupted, answered");
