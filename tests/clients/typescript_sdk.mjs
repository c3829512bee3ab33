// The TypeScript SDK 1.x: what its client gets of the server whose command is given.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const [command, ...args] = process.argv.slice(2);
const canBeAsked = "ElicitRequestSchema" in types;
const results = { asked: 0 };

async function step(name, work) {
  try {
    results[name] = { got: await work() };
  } catch (error) {
    results[name] = { failed: String(error).slice(0, 500) };
  }
}

const textOf = (result) => result.content.map((block) => block.text).join("\n");

const client = new Client({ name: "matrix", version: "1" }, { capabilities: canBeAsked ? { elicitation: {} } : {} });
if (canBeAsked) {
  client.setRequestHandler(types.ElicitRequestSchema, async () => {
  results.asked += 1;
  return { action: "accept" };
});
}
const env = { BITRIX24_ALLOW_WRITES: "true", PATH: process.env.PATH };
await client.connect(new StdioClientTransport({ command, args, env, stderr: "ignore" }));
await step("list", async () => (await client.listTools()).tools.map((tool) => tool.name));
await step("call", async () => {
  const result = await client.callTool({ name: "get_directory_items", arguments: { entityId: "DEAL_STAGE" } });
  return textOf(result);
});
await step("error", async () => {
  const result = await client.callTool({ name: "get_directory_items", arguments: { entityId: "DEAL_STAGES" } });
  return textOf(result);
});
if (canBeAsked) {
  await step("ask", async () => {
    const result = await client.callTool({ name: "add_directory_item", arguments: { entityId: "SOURCE", name: "Podcast" } });
    return textOf(result);
  });
}
await step("complete", async () => {
  const ref = { type: "ref/resource", uri: "bitrix24://directories/{entityId}" };
  return (await client.complete({ ref, argument: { name: "entityId", value: "deal_s" } })).completion.values;
});
await step("read", async () => (await client.readResource({ uri: "bitrix24://directories/SOURCE" })).contents[0].text);
await step("subscribe", async () => {
  await client.subscribeResource({ uri: "bitrix24://directories/SOURCE" });
  return "subscribed";
});
console.log(JSON.stringify(results));
await client.close();
