// What each JavaScript client is tried with, and how it tells what it got: one JSON object on standard output.

export const env = { BITRIX24_ALLOW_WRITES: "true", PATH: process.env.PATH };

export const results = { asked: 0 };

// To be set as the handler of elicitations: accepts, with nothing filled in.
export async function accept() {
  results.asked += 1;
  return { action: "accept" };
}

async function step(name, work) {
  try {
    results[name] = { got: await work() };
  } catch (error) {
    results[name] = { failed: String(error).slice(0, 500) };
  }
}

// `asks`: whether the client can put questions; `subscribe`: how it listens to a resource.
export async function tryAll(client, asks, subscribe) {
  const call = async (name, given) =>
    (await client.callTool({ name, arguments: given })).content.map((block) => block.text).join("\n");

  await step("list", async () => (await client.listTools()).tools.map((tool) => tool.name));
  await step("call", () => call("get_directory_items", { entityId: "DEAL_STAGE" }));
  await step("error", () => call("get_directory_items", { entityId: "DEAL_STAGES" }));
  if (asks) {
    await step("ask", () => call("add_directory_item", { entityId: "SOURCE", name: "Podcast" }));
  }
  await step("complete", async () => {
    const ref = { type: "ref/resource", uri: "bitrix24://directories/{entityId}" };
    return (await client.complete({ ref, argument: { name: "entityId", value: "deal_s" } })).completion.values;
  });
  await step("read", async () => (await client.readResource({ uri: "bitrix24://directories/SOURCE" })).contents[0].text);
  await step("subscribe", async () => {
    await subscribe("bitrix24://directories/SOURCE");
    return "subscribed";
  });
  console.log(JSON.stringify(results));
  await client.close();
}
