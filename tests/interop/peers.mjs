// The peer `ws` in both roles: `node peers.mjs server PORT DEFLATE`, or `client URL DEFLATE`, which
// goes through the whole conversation and prints what it saw as JSON. See peers.py for the rules.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../benchmarks/peers/", import.meta.url));
const { WebSocket, WebSocketServer } = require("ws");

const FRAGMENTS = ["one ", "two ", "three"];
const [role, place, deflate] = process.argv.slice(2);
const perMessageDeflate = deflate === "1" ? { threshold: 0 } : false;

function sendFragments(ws) {
  FRAGMENTS.forEach((part, index) => ws.send(part, { fin: index === FRAGMENTS.length - 1 }));
}

function serve() {
  const handleProtocols = (offered) => (offered.has("chat") ? "chat" : false);
  const host = "127.0.0.1";
  const server = new WebSocketServer({ host, port: 0, perMessageDeflate, handleProtocols });
  server.on("connection", (ws) => {
    ws.on("error", console.error);
    ws.on("message", (data, binary) => {
      const [name, code, ...reason] = binary ? [] : data.toString().split(" ");
      if (name === "close") ws.close(Number(code), reason.join(" "));
      else if (name === "fragments") sendFragments(ws);
      else ws.send(data, { binary });
    });
  });
  server.on("listening", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
}

async function open() {
  const ws = new WebSocket(place, ["other", "chat"], { perMessageDeflate });
  const waiting = [];
  ws.on("message", (data, binary) => waiting.shift()(binary ? [...data] : data.toString()));
  await new Promise((resolve, reject) => ws.on("open", resolve).on("error", reject));
  return { ws, next: () => new Promise((resolve) => waiting.push(resolve)) };
}

const ended = (ws) =>
  new Promise((resolve) => ws.on("close", (code, reason) => resolve([code, reason.toString()])));

async function converse() {
  const { ws, next } = await open();
  const seen = { subprotocol: ws.protocol, deflate: ws.extensions.includes("permessage-deflate") };
  const echo = (message) => [ws.send(message), next()][1];
  seen.text = await echo("text ü 🎈");
  seen.empty = [await echo(""), await echo(Buffer.alloc(0))];
  seen.binary = await echo(Buffer.from([0, 255]));
  seen.large = (await echo("x".repeat(1 << 20))).length;
  const fragments = next();
  sendFragments(ws);
  seen.fragments = await fragments;
  const pong = new Promise((resolve) => ws.on("pong", (data) => resolve(data.toString())));
  ws.ping("hello");
  seen.pong = await pong;
  ws.close(4001, "bye");
  seen.closed = await ended(ws);
  const other = await open();
  other.ws.send("close 4002 over");
  seen.closedByServer = await ended(other.ws);
  console.log(JSON.stringify(seen));
}

role === "server" ? serve() : await converse();
