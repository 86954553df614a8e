// --- Errors: what went wrong, who said so, and to what request -------------------

/** What went wrong in words of this page: the name of a text, and its values. */
class PageError extends Error {
  constructor(name, values) {
    super(name);
    Object.assign(this, { name, values });
  }
}

/** No reply, or not all of it. */
class NoReply extends PageError {
  isTransient = true;
  constructor(service, url, request) {
    super("noReply", { host: new URL(url).host });
    Object.assign(this, { service, url, request });
  }
}

/** What the app server said instead of a token. */
class TokenError extends Error {
  service = "appServer";
  constructor({ ErrorCode, ErrorMessage }, request, status) {
    super(ErrorMessage);
    Object.assign(this, { code: ErrorCode, request, status, facts: `HTTP ${status}` });
  }
}

/** What OSS said in its XML; an error page of a proxy has none. */
class OssError extends Error {
  service = "oss";
  constructor(reply, request) {
    const [fields] = records(reply, "Error");
    super(fields?.Message ?? reply.statusText);
    this.code = fields?.Code ?? `HTTP ${reply.status}`;
    this.request = request;
    this.facts = `HTTP ${reply.status} · RequestId ${fields?.RequestId ?? "–"}`;
    this.isTransient = reply.status >= 500;
  }
}

/**
 * Resolves to why there was no reply, as far as a page can know: the name of a text.
 *
 * A browser does not tell a page whether nothing answered or whether the reply was for
 * other pages only.  A request whose reply nobody reads shows the difference.  It is a
 * HEAD, for which an app server calls no STS.
 */
async function adviceFor({ service, url }) {
  if (isOffline(url)) return "offline";
  if (isMixed(url)) return "mixed";
  try {
    const signal = AbortSignal.timeout(PROBE_MS);
    await fetch(url, { method: "HEAD", mode: "no-cors", cache: "no-store", credentials: "omit", signal });
  } catch {
    if (new URL(url).protocol === "https:" && isAddress(new URL(url).hostname)) return "untrusted";
    return service === "oss" ? "ossUnreachable" : "appServerUnreachable";
  }
  return service === "oss" ? "noCorsRule" : "originNotAllowed";
}

/** Returns the limit that *error* is about, as {setting, value}; null if none is known. */
function limitOf({ code, message }, limits) {
  const { min_size: least, max_size: most, content_types: types = [], forbid_overwrite: isKept } = limits ?? {};
  const isType = code === "AccessDenied" && message.includes("x-oss-content-type"); // a condition of a form
  if (code === "EntityTooLarge" && most) return { setting: "MaxSize", value: () => formatBytes(most) };
  if (code === "EntityTooSmall" && least) return { setting: "MinSize", value: () => formatBytes(least) };
  if (code === "FileAlreadyExists" && isKept) return { setting: "ForbidOverwrite", value: "true" };
  if (!types.length || !(isType || code === "ContentTypeNotAllowed")) return null;
  return { setting: "ContentTypes", value: () => types.join(text("or")) };
}

/** Tells whether *url* is on this device, which needs no network and no https. */
function isLocal(url) {
  return /^(localhost|.*\.localhost|127\..*|\[::1\])$/.test(new URL(url).hostname);
}

function isOffline(url) {
  return !navigator.onLine && !isLocal(url);
}

/** Tells whether browsers keep this page from calling *url*: http from a page of https. */
function isMixed(url) {
  return location.protocol === "https:" && new URL(url).protocol === "http:" && !isLocal(url);
}

/** Shows *error* in *element*: code and message just as an app receives them. */
function showProblem(element, error) {
  const make = (tag, content = "") => Object.assign(document.createElement(tag), { textContent: content });
  const message = make("span", error.message);
  if (error instanceof PageError) say(message, error.name, error.values);
  const parts = error.code ? [make("code", error.code), ": ", message] : [message];
  if (error.limit) {
    const limit = make("p");
    limit.className = "advice";
    say(limit, "limit", error.limit);
    parts.push(limit);
  }
  if (error.advice) {
    const advice = make("p");
    advice.className = "advice";
    say(advice, error.advice, { host: new URL(error.url).host, origin: location.origin, method: error.method });
    parts.push(advice);
    if (error.advice === "untrusted") {
      const { origin: href } = new URL(error.url);
      parts.push(Object.assign(make("a", href), { href, target: "_blank", rel: "noopener" }));
    }
  }
  if (error.request) {
    const details = make("small");
    const { service, request, facts } = error;
    const values = { service: () => text(service), request, facts };
    say(details, facts ? "saidTo" : "askedFor", values);
    parts.push(details);
  }
  element.replaceChildren(...parts);
}
