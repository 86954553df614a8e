// --- Signature V4 ------------------------------------------------------------------

const ALGORITHM = "OSS4-HMAC-SHA256";
const encoder = new TextEncoder();

/** Percent-encodes as in RFC 3986; encodeURIComponent leaves five characters out. */
function encode(text) {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Returns the path of an object as it is in a URL. */
function encodeKey(key) {
  return key.split("/").map(encode).join("/");
}

/** Returns the path of an object, or of the bucket, as it is signed, wherever it is sent. */
function pathOf(bucket, key) {
  return `/${bucket}/${encodeKey(key)}`;
}

function byName([one], [other]) {
  return one < other ? -1 : 1;
}

function canonicalQuery(query) {
  return Object.entries(query)
    .map(([name, value]) => [encode(name), encode(value)])
    .sort(byName)
    .map(([name, value]) => (value ? `${name}=${value}` : name))
    .join("&");
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// SHA-256 as FIPS 180-4 has it.  Browsers have their own, but only for pages from https or
// from localhost; a phone that opens a page of a computer beside it gets it from neither.
// What is hashed is short, so this need not be fast.

const [ROUNDS, START] = (() => {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const bits = (root) => ((root % 1) * 2 ** 32) | 0; // the first 32 after the point
  return [primes.map((n) => bits(Math.cbrt(n))), primes.slice(0, 8).map((n) => bits(Math.sqrt(n)))];
})();

function sha256(message) {
  const blocks = Math.ceil((message.length + 9) / 64);
  const padded = new DataView(new ArrayBuffer(64 * blocks));
  new Uint8Array(padded.buffer).set(message);
  padded.setUint8(message.length, 0x80);
  padded.setBigUint64(64 * blocks - 8, BigInt(message.length) * 8n);
  const rotated = (word, by) => (word >>> by) | (word << (32 - by));
  const state = Int32Array.from(START);
  const words = new Int32Array(64);
  for (let block = 0; block < blocks; block++) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) {
        words[i] = padded.getInt32(64 * block + 4 * i);
        continue;
      }
      const [early, late] = [words[i - 15], words[i - 2]];
      const one = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3);
      const two = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10);
      words[i] = words[i - 16] + one + words[i - 7] + two;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const mixed = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const first = (h + mixed + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i]) | 0;
      const second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] += word));
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => digest.setInt32(4 * i, word));
  return new Uint8Array(digest.buffer);
}

/** Returns HMAC-SHA256 (RFC 2104). */
function hmac(key, text) {
  const block = new Uint8Array(64);
  block.set(key.length > 64 ? sha256(key) : key);
  const within = (pad, bytes) => sha256(Uint8Array.of(...block.map((byte) => byte ^ pad), ...bytes));
  return within(0x5c, within(0x36, encoder.encode(text)));
}

/** Returns the time in UTC as 20260102T030405Z, and the scope of a signature then. */
function timeAndScope(region, date) {
  const time = date.toISOString().replace(/[-:]|\.\d+/g, "");
  return [time, `${time.slice(0, 8)}/${region}/oss/aliyun_v4_request`];
}

/** Returns the signature; all *headers* are signed: content-type, content-md5, x-oss-…. */
function signature(token, region, { method, path, query, headers }, date) {
  const [time, scope] = timeAndScope(region, date);
  const lines = Object.entries(headers).sort(byName).map(([name, value]) => `${name}:${value.trim()}\n`);
  const request = [method, path, canonicalQuery(query), lines.join(""), "", "UNSIGNED-PAYLOAD"].join("\n");
  const hash = hex(sha256(encoder.encode(request)));
  return hex(hmac(signingKey(token, scope), [ALGORITHM, time, scope, hash].join("\n")));
}

let lastKey = {}; // a list of pictures needs the same one some hundred times

function signingKey({ AccessKeySecret: secret }, scope) {
  if (lastKey.secret !== secret || lastKey.scope !== scope) {
    let key = encoder.encode(`aliyun_v4${secret}`);
    for (const part of scope.split("/")) key = hmac(key, part);
    lastKey = { secret, scope, key };
  }
  return lastKey.key;
}

/** Returns the headers of *request* with those that sign it. */
function signedHeaders(token, region, request, date = new Date()) {
  const [time, scope] = timeAndScope(region, date);
  const headers = {
    ...request.headers,
    "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
    "x-oss-date": time, // browsers let no script set Date
    "x-oss-security-token": token.SecurityToken,
  };
  const signed = signature(token, region, { ...request, headers }, date);
  const authorization = `${ALGORITHM} Credential=${token.AccessKeyId}/${scope},Signature=${signed}`;
  return { ...headers, authorization };
}

/** Returns the query of *request* with what signs it, for a URL that works by itself. */
function signedQuery(token, region, request, seconds, date = new Date()) {
  const [time, scope] = timeAndScope(region, date);
  const query = {
    ...request.query,
    "x-oss-signature-version": ALGORITHM,
    "x-oss-credential": `${token.AccessKeyId}/${scope}`,
    "x-oss-date": time,
    "x-oss-expires": String(seconds),
    "x-oss-security-token": token.SecurityToken,
  };
  const signed = signature(token, region, { ...request, query }, date);
  return canonicalQuery({ ...query, "x-oss-signature": signed });
}
