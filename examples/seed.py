"""The seed's server: Sono at /ws, the browser client, and a small page that uses it.

Run `python examples/seed.py --port 8080`.
"""

import argparse

from sono_server import Sono, serve

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Sono</title>
<link rel="icon" href="data:,">
<p>The seed's client. Open the console to see what it receives.</p>
<script type="module">
import { SonoClient } from "/sono.js";
const sono = new SonoClient(`ws://${location.host}/ws`);
sono.onconnection(() => sono.message("client connected"));
sono.on("message", (msg) => console.log("message received:", msg));
</script>
</html>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="The seed's server.")
    parser.add_argument("--host", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, default=8080, help="default: %(default)s; 0: any")
    arguments = parser.parse_args()

    sono = Sono()
    try:
        server = serve(arguments.host, arguments.port)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    with server:
        print(f"listening on http://localhost:{server.address[1]}/", flush=True)
        for request in server:
            if request.method == "GET" and request.path == "/ws":
                sono.connect(request, lambda: sono.emit("new client connected"))
            elif request.path == "/sono.js":
                sono.serve_client(request)
            elif request.path == "/":
                request.respond(200, PAGE, {"content-type": "text/html; charset=utf-8"})
            else:
                request.respond(404)


if __name__ == "__main__":
    main()
