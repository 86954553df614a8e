// ali-oss as a client of a test: each line of standard input is a call, [name, ...args],
// and each line of standard output its result, {value}, or its failure, {code, message}.
// {event} stands for a question, which the next line answers.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../../localcloud/clients/package.json", import.meta.url));
const OSS = require("ali-oss");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const hear = async () => JSON.parse((await lines.next()).value ?? "null");

const { tokenUrl, refreshes, ...options } = await hear();

async function fetchToken() {
  const token = await (await fetch(tokenUrl)).json();
  if (token.StatusCode !== 200) {
    throw new Error(`${token.ErrorCode}: ${token.ErrorMessage}`);
  }
  return {
    accessKeyId: token.AccessKeyId,
    accessKeySecret: token.AccessKeySecret,
    stsToken: token.SecurityToken,
  };
}

// Without a way to refresh, the SDK prints a warning to stdout.
console.warn = console.log = console.error;
const client = new OSS({
  ...options,
  ...(await fetchToken()),
  ...(refreshes && { refreshSTSToken: fetchToken, refreshSTSTokenInterval: 1 }),
});

const calls = {
  put: async (key, base64, options) => {
    const { res, data } = await client.put(key, Buffer.from(base64, "base64"), options);
    return data ?? res.status;
  },
  get: async (key, options) => (await client.get(key, options)).content.toString("base64"),
  download: async (key, file) => (await client.get(key, file)).res.status,
  list: async (prefix) =>
    ((await client.listV2({ prefix })).objects ?? []).map(({ name }) => name),
  delete: async (key) => (await client.delete(key)).res.status,
  upload: async (key, file, parallel, options) => {
    const progress = async (share) => {
      say({ event: share });
      await hear();
    };
    const part = { parallel, partSize: 1024 * 1024, progress, ...options };
    const { res, data } = await client.multipartUpload(key, file, part);
    return data ?? res.status;
  },
};

for (let call = await hear(); call; call = await hear()) {
  const [name, ...args] = call;
  try {
    say({ value: await calls[name](...args) });
  } catch ({ code, message }) {
    say({ code: code ?? "", message });
  }
}
process.exit(0);
