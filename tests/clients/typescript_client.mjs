// The TypeScript client 2.x: what it gets of the server whose command is given, in the newest protocol.

import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { accept, env, tryAll } from "./steps.mjs";

const [command, ...args] = process.argv.slice(2);
const client = new Client(
  { name: "matrix", version: "1" },
  { capabilities: { elicitation: {} }, versionNegotiation: { mode: "auto" } },
);
client.setRequestHandler("elicitation/create", accept);
await client.connect(new StdioClientTransport({ command, args, env, stderr: "ignore" }));
await tryAll(client, true, async (uri) => (await client.listen({ resourceSubscriptions: [uri] })).close());
