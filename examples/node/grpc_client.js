// Asks for a user over gRPC, through the gateway. The server is examples/python/grpc_server.py.

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const GATEWAY = (process.env.GATEWAY ?? "http://127.0.0.1:8080").replace("http://", "");

const proto = path.join(__dirname, "../python/user.proto");
const { UserService } = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true }));
const client = new UserService(GATEWAY, grpc.credentials.createInsecure());

const deadline = new Date(Date.now() + 10_000);
client.GetUser({ user_id: process.argv[2] ?? 1 }, { deadline }, (error, user) => {
  if (error) console.log(`${grpc.status[error.code]}: ${error.details}`);
  else console.log(`${user.id} ${user.name} ${user.email}`);
  process.exitCode = error ? 1 : 0;
  client.close();
});
