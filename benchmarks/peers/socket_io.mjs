// The peer `socket.io`: a room of everybody.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { listen, MAX_MESSAGE, parse } from "./common.mjs";

const { port, deflate } = parse("sono");
const server = createServer();
const io = new Server(server, {
  maxHttpBufferSize: MAX_MESSAGE,
  perMessageDeflate: deflate,
  serveClient: false,
  transports: ["websocket"],
});

io.on("connection", (socket) => {
  socket.join("Home");
  socket.on("message", (message) => io.to("Home").emit("message", message));
});
listen(server, port);
