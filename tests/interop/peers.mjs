// The peer `ws` in both roles: `node peers.mjs server DEFLATE [CHAIN KEY]`, which serves with TLS if
// it gets the files of a certificate; or `client DEFLATE URL [AUTHORITY]`, which goes through the
// whole conversation and prints what it saw as JSON. See peers.py for the rules.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../benchmarks/peers/", import.meta.url));
const { WebSocket, WebSocketServer } = require("ws");

const FRAGMENTS = ["one ", "two ", "three"];
const [role, deflate, ...rest] = process.argv.slice(2);
const perMessageDeflate = deflate === "1" ? { threshold: 0 } : false;

function sendFragments(ws) {
  FRAGMENTS.forEach((part, index) => ws.send(part, { fin: index === FRAGMENTS.length - 1 }));
}

function serve() {
  const handleProtocols = (offered) => (offered.has("chat") ? "chat" : false);
  const [cert, key] = rest.map((path) => readFileSync(path));
  const http = cert ? createSecureServer({ cert, key }) : createServer();
  const server = new WebSocketServer({ server: http, perMessageDeflate, handleProtocols });
  server.on("connection", (ws) => {
    ws.on("error", console.error);
    ws.on("message", (data, binary) => {
      const [name, code, ...reason] = binary ? [] : data.toString().split(" ");
      if (name === "close") ws.close(Number(code), reason.join(" "));
      else if (name === "fragments") sendFragments(ws);
      else ws.send(data, { binary });
    });
  });
  http.listen(0, "127.0.0.1", () => console.log(`listening on :${http.address().port}`));
}

async function open() {
  const [url, authority] = rest;
  const ca = authority && readFileSync(authority);
  const ws = new WebSocket(url, ["other", "chat"], { perMessageDeflate, ca });
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
