// @alicloud/pop-core as a client of a test: standard input is the options of the client
// and [action, params, options] of each call, standard output their results as JSON, or
// their failures, {code, message}.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../localcloud/clients/package.json", import.meta.url));
const { RPCClient } = require("@alicloud/pop-core");

const { options, calls } = JSON.parse(readFileSync(0));
const client = new RPCClient(options);
const results = [];
for (const [action, params, opts] of calls) {
  try {
    results.push(await client.request(action, params, opts));
  } catch ({ code, message }) {
    results.push({ code, message });
  }
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
