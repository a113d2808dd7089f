// What the scripts for node share: the command line, and the line that says that clients may come.

import { parseArgs } from "node:util";

export const MAX_MESSAGE = 64 << 20; // bytes, as for all servers

export function parse(...modes) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: "string" },
      deflate: { type: "boolean", default: false },
      backplane: { type: "string" },
    },
  });
  const [mode] = positionals;
  if (!modes.includes(mode) || values.port === undefined) {
    console.error(`usage: node ${process.argv[1]} ${modes.join("|")} --port N [--deflate] [--backplane URL]`);
    process.exit(2);
  }
  return { ...values, mode, port: Number(values.port) };
}

export function listen(server, port) {
  server.listen(port, "127.0.0.1", () => {
    console.log(`listening on 127.0.0.1:${server.address().port}`);
  });
}
