// A greeting. Registers itself over the Consul API and takes itself out when stopped.

const http = require("node:http");

const PORT = Number(process.env.PORT ?? 5003);
const REGISTRY = process.env.REGISTRY ?? "http://127.0.0.1:8500";
const ID = `greet-service-${PORT}`;

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  response.setHeader("content-type", "application/json");
  if (url.pathname === "/api/greet") {
    const name = url.searchParams.get("name") ?? "World";
    response.end(JSON.stringify({ message: `Hello, ${name}!` }));
  } else if (url.pathname === "/healthz") {
    response.end("{}");
  } else {
    response.statusCode = 404;
    response.end(JSON.stringify({ error: `there is nothing at ${url.pathname}` }));
  }
});

async function put(path, body) {
  const answer = await fetch(`${REGISTRY}/v1/agent/${path}`, {
    method: "PUT",
    body: body && JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
}

server.listen(PORT, "127.0.0.1", () =>
  put("service/register", {
    ID,
    Name: "greet-service",
    Address: "127.0.0.1",
    Port: PORT,
    Check: { HTTP: `http://127.0.0.1:${PORT}/healthz`, Interval: "1s" },
  }),
);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await put(`service/deregister/${ID}`);
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
