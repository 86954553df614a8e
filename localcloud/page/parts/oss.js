// --- Requests to OSS -------------------------------------------------------------------

const TOKEN_REFUSED = new Set(["SecurityTokenExpired", "InvalidSecurityToken", "InvalidAccessKeyId"]);

/** A bucket as the settings have it, and the tokens for it. */
class Connection {
  #answered = new Set(); // the methods that OSS let this page use
  #isSilent = false; // since a request got no reply, however often it was sent
  #advice = { until: -Infinity, name: null };

  #report = null; // what makes OSS report an upload, as the app server said
  #reportAt = -Infinity; // when it did, by performance.now()

  /** *offer* is what the app server says of this bucket, if it does. */
  constructor(settings, { dir, report } = NOTHING) {
    this.settings = settings;
    this.#report = report;
    this.#reportAt = performance.now();
    this.base = baseOf(settings);
    this.tokens = new TokenSource(settings.appServer);
    const isBelow = dir !== null && settings.pattern.startsWith(dir);
    this.prefix = isBelow ? dir : prefixOf(settings.pattern);
  }

  get place() {
    return `${this.settings.bucket}/${this.prefix}`;
  }

  urlOf(key, query = "") {
    return `${this.base}/${encodeKey(key)}${query && `?${query}`}`;
  }

  nameOf(key) {
    return (key.startsWith(this.prefix) && key.slice(this.prefix.length)) || key;
  }

  /** Resolves to a URL at which the object can be read, and the seconds it works. */
  async presigned(key, process = "") {
    const { tokens, settings } = this;
    const token = await tokens.get();
    const seconds = Math.min(Math.max(Math.floor(tokens.secondsLeft), 60), MAX_URL_SECONDS);
    const query = process ? { "x-oss-process": `image/${process}` } : {};
    const request = { method: "GET", path: pathOf(settings.bucket, key), query, headers: {} };
    return { url: this.urlOf(key, signedQuery(token, settings.region, request, seconds)), seconds };
  }

  /**
   * Sends a request; resolves to the XMLHttpRequest that has the reply.
   *
   * It is sent again after no reply or a 5xx, and once with another token when the token is
   * refused.  onProgress is told how many bytes of the body have left.  With isReported, OSS
   * tells the app server of it, if that wants to hear it.
   */
  async request({ method, key = "", query = {}, type, isReported, body, onProgress, signal }) {
    const { tokens, settings } = this;
    const headers = { ...(type && { "content-type": type }), ...(isReported && (await this.#reportHeaders())) };
    const request = { method, path: pathOf(settings.bucket, key), query, headers };
    const url = this.urlOf(key, canonicalQuery(query));
    const name = `${method} ${settings.bucket}/${key || this.prefix}`;
    const send = async (token) => {
      const signed = signedHeaders(token, settings.region, request);
      const reply = await exchange({ method, url, name, headers: signed, body, onProgress, signal });
      this.#answered.add(method);
      this.#isSilent = false;
      if (reply.status >= 300) throw new OssError(reply, name);
      return reply;
    };
    for (let failures = 0; ; failures++) {
      try {
        const token = await tokens.get();
        return await send(token).catch(async (error) => {
          if (!TOKEN_REFUSED.has(error.code)) throw error;
          return send(await tokens.replace(token));
        });
      } catch (error) {
        // While nothing answers, many files need not find that out one by one.
        if (!error.isTransient || failures === RETRIES || this.#isSilent || isOffline(url)) {
          throw await this.#withAdvice(error, method);
        }
        await pause(BACKOFF_MS * 2 ** failures, signal);
      }
    }
  }

  /** Resolves to what makes OSS report an upload; the app server is asked anew now and then. */
  async #reportHeaders() {
    if (!this.#report) return {};
    if (performance.now() - this.#reportAt > CALLBACK_MS) {
      const { report } = await askUploadConfig(this.settings.appServer).catch(() => NOTHING);
      if (report) [this.#report, this.#reportAt] = [report, performance.now()];
    }
    return { "x-oss-callback": this.#report.callback, "x-oss-callback-var": this.#report.variables };
  }

  /** Resolves to *error* with why there was no reply; of many errors at once, one is looked into. */
  async #withAdvice(error, method) {
    if (!(error instanceof NoReply) || error.service !== "oss") return error;
    this.#isSilent = true;
    if (performance.now() > this.#advice.until) {
      this.#advice = { until: performance.now() + PROBE_MS, name: adviceFor(error) };
    }
    const name = await this.#advice.name;
    const isKnownToWork = name === "noCorsRule" && this.#answered.has(method);
    return Object.assign(error, { method, advice: isKnownToWork ? null : name });
  }

  /** Resolves to the objects under the prefix, newest first, and whether there are more. */
  async list() {
    const query = {
      "list-type": "2",
      prefix: this.prefix,
      "max-keys": String(LIST_PAGE),
      "encoding-type": "url", // XML has no way to write some characters of a key
    };
    const objects = [];
    let hasMore = true;
    while (hasMore && objects.length < LIST_LIMIT) {
      const reply = await this.request({ method: "GET", query });
      for (const { Key, Size, LastModified, ETag } of records(reply, "Contents")) {
        const key = decodeURIComponent(Key);
        objects.push({ key, size: Number(Size), time: Date.parse(LastModified), etag: ETag });
      }
      const [page] = records(reply, "ListBucketResult");
      hasMore = page.IsTruncated === "true";
      query["continuation-token"] = page.NextContinuationToken;
    }
    objects.sort((one, other) => other.time - one.time);
    return { objects, hasMore };
  }
}

/** Sends one request.  By XMLHttpRequest, as fetch() does not tell how far a body is. */
function exchange({ method, url, name, headers, body, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    let stalled = setTimeout(stop, STALL_MS);
    const isMoving = () => {
      clearTimeout(stalled);
      stalled = setTimeout(stop, STALL_MS);
    };
    request.onprogress = isMoving;
    request.upload.onprogress = ({ loaded }) => {
      isMoving();
      onProgress?.(loaded);
    };
    request.onload = () => resolve(request);
    request.onerror = request.onabort = () => {
      reject(signal?.aborted ? signal.reason : new NoReply("oss", url.replace(/\?.*$/s, ""), name));
    };
    request.onloadend = () => {
      clearTimeout(stalled);
      signal?.removeEventListener("abort", stop);
    };
    signal?.addEventListener("abort", stop);
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(body);
  });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Returns what the app server said when OSS told it of an upload, null if OSS did not. */
function reportIn(reply) {
  if (!/^application\/json\b/.test(reply.getResponseHeader("Content-Type") ?? "")) return null;
  try {
    return Object(JSON.parse(reply.responseText));
  } catch {
    return null;
  }
}

/** Returns each element *name* in the XML of *reply* as an object of its children's texts. */
function records(reply, name) {
  return Array.from(reply.responseXML?.getElementsByTagName(name) ?? [], ({ children }) =>
    Object.fromEntries(Array.from(children, ({ tagName, textContent }) => [tagName, textContent])),
  );
}
