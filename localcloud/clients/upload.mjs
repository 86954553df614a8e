// Upload a file to OSS with a token from the token server, as an app does.
//
//     npm install --prefix localcloud/clients
//     node localcloud/clients/upload.mjs photo.jpg

import { basename } from "node:path";
import { parseArgs } from "node:util";
import OSS from "ali-oss";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "token-url": { type: "string", default: "http://127.0.0.1:7080/" },
    endpoint: { type: "string", default: "http://127.0.0.1:7091" },
    region: { type: "string", default: "cn-hangzhou" },
    bucket: { type: "string", default: "demo-bucket" },
    prefix: { type: "string", default: "photos/" },
  },
});
const [file] = positionals;

async function fetchToken() {
  const token = await (await fetch(values["token-url"])).json();
  if (token.StatusCode !== 200) {
    throw new Error(`${token.ErrorCode}: ${token.ErrorMessage}`);
  }
  return {
    accessKeyId: token.AccessKeyId,
    accessKeySecret: token.AccessKeySecret,
    stsToken: token.SecurityToken,
  };
}

const client = new OSS({
  ...(await fetchToken()),
  refreshSTSToken: fetchToken,
  refreshSTSTokenInterval: 300_000, // less than any token has left when it is fetched
  endpoint: values.endpoint,
  region: `oss-${values.region}`,
  bucket: values.bucket,
  authorizationV4: true,
});
const key = values.prefix + basename(file);
await client.multipartUpload(key, file);
console.log(`uploaded ${file} as ${values.bucket}/${key}`);
