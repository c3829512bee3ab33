// The TypeScript SDK 1.x: what its client gets of the server whose command is given.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as types from "@modelcontextprotocol/sdk/types.js";
import { accept, env, tryAll } from "./steps.mjs";

const [command, ...args] = process.argv.slice(2);
const asks = "ElicitRequestSchema" in types; // from 1.13 on
const client = new Client({ name: "matrix", version: "1" }, { capabilities: asks ? { elicitation: {} } : {} });
if (asks) {
  client.setRequestHandler(types.ElicitRequestSchema, accept);
}
await client.connect(new StdioClientTransport({ command, args, env, stderr: "ignore" }));
await tryAll(client, asks, (uri) => client.subscribeResource({ uri }));
