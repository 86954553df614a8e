// Express with the STS client of ali-oss for each request, as its README shows.
//
//     CONFIG=config.json node peer_express.mjs PORT

import { readFileSync } from "node:fs";
import express from "express";
import OSS from "ali-oss";

const config = JSON.parse(readFileSync(process.env.CONFIG, "utf8"));
const policy = readFileSync(config.PolicyFile, "utf8")
  .replaceAll("$BUCKET_NAME", config.BucketName)
  .replaceAll("$OBJECT_PREFIX", config.ObjectPrefix);
const sts = new OSS.STS({
  accessKeyId: config.AccessKeyID,
  accessKeySecret: config.AccessKeySecret,
  endpoint: config.StsEndpoint,
});
const app = express();

app.get("/", async (request, response) => {
  try {
    const seconds = Number(config.TokenExpireTime);
    const { credentials } = await sts.assumeRole(
      config.RoleArn, policy, seconds, "client_name",
    );
    response.json({ StatusCode: 200, ...credentials });
  } catch ({ code, message }) {
    response.json({ StatusCode: 500, ErrorCode: code, ErrorMessage: message });
  }
});

app.listen(Number(process.argv[2]), "127.0.0.1");
