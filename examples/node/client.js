// Calls the greeting by its name, through the gateway.

const http = require("node:http");

const GATEWAY = process.env.GATEWAY ?? "http://127.0.0.1:8080";
const name = encodeURIComponent(process.argv[2] ?? "World");

const call = http.get(
  `${GATEWAY}/api/greet?name=${name}`,
  { headers: { host: "greet-service.service.consul" } },
  async (response) => {
    let body = "";
    for await (const chunk of response) body += chunk;
    console.log(response.statusCode === 200 ? JSON.parse(body).message : body);
    process.exitCode = response.statusCode === 200 ? 0 : 1;
  },
);
call.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
