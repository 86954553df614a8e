// Node with a handler that sends the same bytes over HTTPS, and checks nothing.
//
//     node peer_node.mjs PORT FILE PEM

import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [port, file, pem] = process.argv.slice(2);
const body = readFileSync(file);
const both = readFileSync(pem);

const server = createServer({ cert: both, key: both }, (request, response) => {
  response.writeHead(200, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": body.length,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",
  });
  response.end(body);
});
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 1024 });
