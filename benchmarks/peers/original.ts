// The peer that Sono comes from, for Deno; SONO_ORIGINAL names its folder.

const [mode, option, port] = Deno.args;
if (mode !== "sono" || option !== "--port" || port === undefined) {
  console.error("usage: original.ts sono --port N");
  Deno.exit(2);
}

const announce = console.log;
console.log = () => {}; // it would print two lines for each connection

const { Sono } = await import(`${Deno.env.get("SONO_ORIGINAL")}/mod.ts`);
const sono = new Sono();

Deno.serve(
  {
    hostname: "127.0.0.1",
    port: Number(port),
    onListen: (address) => announce(`listening on 127.0.0.1:${address.port}`),
  },
  (request) => sono.connect(request, () => {}),
);
