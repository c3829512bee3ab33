// A host of MCP Apps as small as can be: the ext-apps project's own bridge, and the sandbox and policy that it asks for.

import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'none'; " +
  "frame-src 'none'; base-uri 'none'; form-action 'none'";

let bridge;

/** Show `html` in a frame; resolves when the page has said that it is ready. `callTool` is Python's. */
window.open_picture = async (html, context) => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.style = "border: 0; width: 100%; height: 100vh; display: block";
  frame.title = "picture";
  document.body.replaceChildren(frame);
  bridge = new AppBridge(null, { name: "test host", version: "1" }, { serverTools: {} }, { hostContext: context });
  window.sizes = [];
  bridge.onsizechange = (size) => window.sizes.push(size);
  bridge.oncalltool = async (params) => JSON.parse(await window.callTool(params.name, JSON.stringify(params.arguments)));
  const ready = new Promise((resolve) => (bridge.oninitialized = resolve));
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = html.replace("<head>", `<head><meta http-equiv="Content-Security-Policy" content="${POLICY}">`);
  await ready;
};

window.show_result = async (args, result) => {
  await bridge.sendToolInput({ arguments: args });
  await bridge.sendToolResult(result);
};

window.change_context = (context) => bridge.setHostContext(context);

window.close_picture = () => bridge.teardownResource({});
