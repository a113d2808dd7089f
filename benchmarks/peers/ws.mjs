// The peer `ws`.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { listen, MAX_MESSAGE, parse } from "./common.mjs";

const { mode, port, deflate } = parse("echo", "fanout");
const server = createServer();
const wss = new WebSocketServer({ server, perMessageDeflate: deflate, maxPayload: MAX_MESSAGE });

const handlers = {
  echo(ws, data, binary) {
    ws.send(data, { binary });
  },
  fanout(ws, data, binary) {
    for (const member of wss.clients) member.send(data, { binary });
  },
};

wss.on("connection", (ws) => {
  ws.on("error", console.error);
  ws.on("message", (data, binary) => handlers[mode](ws, data, binary));
});
listen(server, port);
