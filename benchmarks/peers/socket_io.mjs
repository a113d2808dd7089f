// The peer `socket.io`: a room of everybody, and acknowledgements.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { listen, MAX_MESSAGE, parse } from "./common.mjs";

const { port, deflate, backplane } = parse("sono", "requests", "nodes");

async function adapter(url) {
  const { createAdapter } = await import("@socket.io/redis-streams-adapter");
  const { createClient } = await import("redis");
  const client = createClient({ url });
  await client.connect();
  return createAdapter(client);
}

const server = createServer();
const io = new Server(server, {
  maxHttpBufferSize: MAX_MESSAGE,
  perMessageDeflate: deflate,
  serveClient: false,
  transports: ["websocket"],
  ...(backplane && { adapter: await adapter(backplane) }),
});

io.on("connection", (socket) => {
  socket.join("Home");
  socket.on("message", (message) => io.to("Home").emit("message", message));
  socket.on("echo", (data, acknowledge) => acknowledge(data));
});
listen(server, port);
