// --- Requests to OSS -------------------------------------------------------------------

const TOKEN_REFUSED = new Set(["SecurityTokenExpired", "InvalidSecurityToken", "InvalidAccessKeyId"]);

/** A bucket as the settings have it, and the tokens for it. */
class Connection {
  #answered = new Set(); // the methods that OSS let this page use
  #isSilent = false; // since a request got no reply, however often it was sent
  #advice = { until: -Infinity, name: null };

  #report = null; // what makes OSS report an upload, as the app server said
  #reportAt = -Infinity; // when it did, by performance.now()

  /** *offer* is what the app server says of how to upload, if it does. */
  constructor(settings, offer = NOTHING) {
    const isOffered = offer.offered?.bucket === settings.bucket;
    this.settings = settings;
    this.signer = signerOf(settings); // null where files go with a token
    const { dir, terms } = isOffered ? ((this.signer ? offer.signing : offer) ?? NOTHING) : NOTHING;
    this.dir = dir;
    this.limits = this.signer ? terms : null;
    this.#report = isOffered ? offer.report : null;
    this.#reportAt = performance.now();
    this.base = baseOf(settings);
    this.tokens = new TokenSource(offer.terms?.type in WAY_OF ? null : settings.appServer);
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
    const send = (token) => {
      const signed = signedHeaders(token, settings.region, request);
      return this.#send({ method, url, name, headers: signed, body, onProgress, signal });
    };
    return this.#insist(method, url, signal, async () => {
      const token = await tokens.get();
      return send(token).catch(async (error) => {
        if (!TOKEN_REFUSED.has(error.code)) throw error;
        return send(await tokens.replace(token));
      });
    });
  }

  /**
   * Uploads a file by a form or a URL that the app server signs; resolves to the reply.
   *
   * Each attempt has a signature of its own.  onKey is told what the app server calls the
   * object, if it has a name of its own for it.
   */
  async upload({ key, type, file, onProgress, onKey, signal }) {
    const usual = this.settings.way === "form" ? "POST" : "PUT";
    return this.#insist(usual, this.urlOf(key), signal, async () => {
      const { method, url, headers = {}, fields, object } = await this.#signed(key, type, file.size);
      onKey(fields?.key ?? object);
      const isTyped = fields && !fields["x-oss-content-type"] && this.limits?.content_types?.length;
      const body = fields ? formOf(isTyped ? { ...fields, "x-oss-content-type": type } : fields, file) : file;
      const name = `${method} ${this.settings.bucket}/${fields?.key ?? object}`;
      const onSent = (bytes) => onProgress(Math.min(bytes, file.size)); // a form is larger than its file
      return this.#send({ method, url, name, headers, body, onProgress: onSent, signal }).catch((error) => {
        throw Object.assign(error, { limit: limitOf(error, this.limits) });
      });
    });
  }

  /** Resolves to a form or a URL for an object. */
  async #signed(key, type, size) {
    const { signer, dir, settings } = this;
    const filename = this.nameOf(key);
    if (dir !== null && !key.startsWith(dir)) throw new PageError("outsideDir", { key, dir });
    const isTold = settings.way !== "form" || !settings.untold;
    const url = new URL(signer);
    const told = { content_type: type, ...(settings.way === "form" && { size }) };
    for (const [name, value] of Object.entries({ filename, ...(isTold && told) })) url.searchParams.set(name, value);
    try {
      return readSigned(await askAppServer(url.href), url.href);
    } catch (error) {
      throw Object.assign(error, { limit: limitOf(error, this.limits) });
    }
  }

  /** Sends a request; resolves to the reply of OSS if that is no error. */
  async #send(request) {
    const reply = await exchange(request);
    this.#answered.add(request.method);
    this.#isSilent = false;
    if (reply.status >= 300) throw new OssError(reply, request.name);
    return reply;
  }

  /** Resolves to what *attempt* does, which is made again after no reply or a 5xx. */
  async #insist(method, url, signal, attempt) {
    for (let failures = 0; ; failures++) {
      try {
        return await attempt();
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

/** Returns a form with *fields* and, last, the file. */
function formOf(fields, file) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", file);
  return form;
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
