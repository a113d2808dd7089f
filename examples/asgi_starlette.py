"""A chat inside a Starlette application, under any ASGI server.

Run `pip install starlette uvicorn`, then `uvicorn examples.asgi_starlette:app`.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute

from sono_server import Client, Sono

PAGE = """<!doctype html><meta charset="utf-8"><title>Sono in Starlette</title>
<form><input autofocus placeholder="say something"></form><ul></ul>
<script type="module">
  import { SonoClient } from "/sono.js";
  const sono = new SonoClient(new URL("/ws", location.href.replace("http", "ws")).href);
  sono.on("message", ({ message }) => {
    const line = document.createElement("li");
    line.textContent = message;
    document.querySelector("ul").append(line);
  });
  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    sono.message(event.target[0].value);
    event.target.reset();
  };
</script>"""

sono = Sono()


@sono.on_connect
async def welcome(client: Client) -> None:
    client.send("message", f"welcome, {client.id}")


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def announce(request: Request) -> JSONResponse:
    """Send to every client; any part of the application may."""
    sono.emit(request.query_params.get("text", ""))
    return JSONResponse({"clients": len(sono.clients)})


app = Starlette(
    routes=[
        Route("/", page),
        Route("/announce", announce, methods=["POST"]),
        Route("/sono.js", sono.asgi()),
        WebSocketRoute("/ws", sono.asgi()),
    ]
)
