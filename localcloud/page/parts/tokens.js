// --- The app server: tokens, and where to upload --------------------------------------

/** The token in use, fetched anew before it expires, and once for all who need it. */
class TokenSource {
  current = null;
  onToken = () => {};
  onFailure = () => {};
  askedAt = -Infinity; // by performance.now(), which no change of the clock moves
  #fetchedAt = -Infinity;
  #inFlight = null;

  constructor(url) {
    this.url = url;
  }

  /** Seconds until the token expires by the clock of this device, which may be wrong. */
  get secondsLeft() {
    return this.current ? (this.current.expiresAt - Date.now()) / 1000 : -Infinity;
  }

  get isFresh() {
    return this.secondsLeft > REFRESH_MARGIN;
  }

  /** Resolves to a token with time left, if one is to be had. */
  async get() {
    const { current, secondsLeft } = this;
    const usable = secondsLeft > 0;
    const earliest = performance.now() - ASK_PAUSE_MS;
    if (this.isFresh || (usable && this.askedAt > earliest)) return current;
    if (this.#fetchedAt > earliest) return current; // if it looks expired, the clock is wrong
    return this.fetch().catch((error) => {
      if (usable) return current;
      throw error;
    });
  }

  /** Resolves to another token than *refused*, which OSS did not take. */
  async replace(refused) {
    return this.current === refused ? this.fetch() : this.current;
  }

  /** Tells whether there are tokens at all. */
  get areThere() {
    return this.url !== null;
  }

  /** Asks the app server; who comes while it is being asked shares its answer. */
  fetch() {
    if (!this.areThere) return Promise.reject(new PageError("tokensNone"));
    this.#inFlight ??= this.#ask().finally(() => (this.#inFlight = null));
    return this.#inFlight;
  }

  /** Takes a token that the app server sent already. */
  take(token) {
    this.askedAt = this.#fetchedAt = performance.now();
    this.current = token;
    this.onToken();
  }

  async #ask() {
    this.askedAt = performance.now();
    try {
      const { document, status } = await askAppServer(this.url);
      this.take(readToken(document, this.url, status));
      return this.current;
    } catch (error) {
      this.onFailure(error);
      throw error;
    }
  }
}

function requestTo(url) {
  return `GET ${url.replace(/[?#].*$/s, "")}`; // what follows can be a login token
}

/** Resolves to what the app server sends, and its HTTP status. */
async function askAppServer(url) {
  const loginToken = loginTokenFor(url);
  let reply, body;
  try {
    const signal = AbortSignal.timeout(APP_SERVER_MS);
    const headers = loginToken ? { Authorization: `Bearer ${loginToken}` } : {};
    reply = await fetch(url, { cache: "no-store", credentials: "omit", headers, signal });
    body = await reply.text();
  } catch {
    const error = new NoReply("appServer", url, requestTo(url));
    error.advice = await adviceFor(error);
    throw error;
  }
  let document = {};
  try {
    document = Object(JSON.parse(body));
  } catch {
    // It is not JSON, so it is neither a token nor an error.
  }
  if (document.ErrorCode) throw new TokenError(document, requestTo(url), reply.status);
  return { document, status: reply.status };
}

function readToken({ StatusCode, AccessKeyId, AccessKeySecret, SecurityToken, Expiration }, url, status) {
  const expiresAt = Date.parse(Expiration);
  if (Number(StatusCode) === 200 && AccessKeyId && AccessKeySecret && SecurityToken && expiresAt) {
    return { AccessKeyId, AccessKeySecret, SecurityToken, expiresAt };
  }
  const error = new PageError("notAToken", { host: new URL(url).host, status });
  throw Object.assign(error, { service: "appServer", request: requestTo(url) });
}

/** Returns a form or a URL that the app server sent. */
function readSigned({ document, status }, url) {
  const { method, url: to, fields, headers } = document;
  if (method && canBeUrl(String(to)) && (fields || headers)) return document;
  const error = new PageError("notSigned", { host: new URL(url).host, status });
  throw Object.assign(error, { service: "appServer", request: requestTo(url) });
}

const OFFERED = ["bucket", "region", "endpoint", "cname", "pattern"];
const NOTHING = { offered: null, token: null, dir: null, report: null, terms: null, signing: null };

/**
 * Resolves to where the app server says to upload: {offered, token, dir, report, terms}.
 *
 * It says so at /upload-config and the path of its tokens, and, where tokens have any path,
 * at /upload-config alone.  An app server that hands out tokens at every path does it
 * there too: that token is used, and nothing is *offered*.  With *report* OSS reports an
 * upload to the app server, and *terms* are what it says of how to upload.
 */
async function askUploadConfig(appServer, isOfPath = false) {
  const { origin, pathname, search } = new URL(appServer);
  const paths = pathname === "/" ? ["/upload-config"] : [`/upload-config${pathname}`];
  if (pathname !== "/" && !isOfPath) paths.push("/upload-config");
  let [token, problem] = [null, null];
  for (const path of paths) {
    let answer;
    try {
      answer = await askAppServer(origin + path + search);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      if (error.status !== 404) problem ??= error;
      continue;
    }
    const { bucket, region, endpoint, cname, dir, callback } = answer.document;
    if (bucket && region && endpoint) {
      const { type } = answer.document;
      const said = tidy({ bucket, region, endpoint, cname: Boolean(cname), pattern: `${dir}$FILENAME` });
      const offered = Object.fromEntries(OFFERED.map((name) => [name, said[name]]));
      if (type in WAY_OF) offered.way = WAY_OF[type];
      const report = callback ? { callback, variables: answer.document["callback-var"] } : null;
      return { offered, token, dir, report, terms: answer.document };
    }
    if (answer.document.SecurityToken) token = readToken(answer.document, appServer, answer.status);
  }
  if (problem) throw problem;
  return { ...NOTHING, token };
}

/**
 * Resolves to the same, and as *signing* to what it says where forms or URLs are signed, if
 * the settings that *settle* returns for what is offered want these.
 */
async function askOffer(appServer, settle) {
  const offer = await askUploadConfig(appServer);
  const settings = settle(offer.offered);
  const signer = signerOf(settings);
  if (!signer) return { ...offer, signing: null };
  const signing = signer === settings.appServer ? offer : await askUploadConfig(signer, true);
  const { way: _, ...offered } = signing.offered ?? {};
  const isOffered = offer.offered ?? signing.offered;
  return { ...offer, signing, offered: isOffered && { ...offer.offered, ...offered } };
}
