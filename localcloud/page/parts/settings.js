// --- Settings: what was entered, what the app server says, and where both lead -------

const BLANK = {
  appServer: "",
  bucket: "",
  region: "",
  endpoint: "",
  cname: false,
  pattern: "",
  way: "size",
  formPath: "",
  urlPath: "",
  untold: false,
};
const OWN = { ...BLANK, ...JSON.parse(byId("settings").textContent) }; // of this page
const WAYS = ["size", "simple", "resumable", "form", "url"];
const PATH_OF = { form: "formPath", url: "urlPath" }; // the settings of the ways without a token
const WAY_OF = { PostForm: "form", PresignedUrl: "url" }; // by what the app server says it hands out
const PLACEHOLDER = /\$(FILENAME|EXTENSION|DATE|UUID)\b/g;
const OSS_ENDPOINT = /^oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com$/;

/** Tells whether *host* is an IP address or this machine: no bucket has a name below it. */
function isAddress(host) {
  return /^[\d.]+$|^\[|^localhost$/.test(host);
}

/** Tells whether *host* cannot be OSS, which is never called by an address. */
function isStandIn(host) {
  return isAddress(host) || host.endsWith(".localhost");
}

/** Returns *text* as a URL; one without a scheme is https, or http at an address. */
function asUrl(text) {
  const whole = /^https?:\/\//i.test(text) ? text : `https://${text}`;
  const url = new URL(whole);
  if (whole !== text && isStandIn(url.hostname)) return new URL(`http://${text}`);
  return url;
}

function canBeUrl(text) {
  try {
    const { hostname, username, password } = asUrl(text);
    return Boolean(hostname) && !username && !password && !/\s/.test(text);
  } catch {
    return false;
  }
}

/** Tells whether an endpoint that was entered is likely the bucket's own domain. */
function looksLikeDomain(endpoint) {
  if (!endpoint || !canBeUrl(endpoint)) return false;
  const { hostname } = asUrl(endpoint);
  return !hostname.endsWith(".aliyuncs.com") && !isStandIn(hostname);
}

/** Returns *entered* as it is kept: trimmed, with what follows from the rest. */
function tidy(entered) {
  const settings = { ...BLANK, ...entered };
  for (const name of ["appServer", "bucket", "region", "endpoint", "pattern", "formPath", "urlPath"]) {
    settings[name] = String(settings[name]).trim();
  }
  settings.region = settings.region.replace(/^oss-/, "");
  if (canBeUrl(settings.appServer)) settings.appServer = asUrl(settings.appServer).href;
  if (settings.endpoint && canBeUrl(settings.endpoint)) {
    const { origin, hostname } = asUrl(settings.endpoint);
    settings.endpoint = origin;
    settings.region ||= OSS_ENDPOINT.exec(hostname)?.[1] ?? "";
  }
  for (const name of ["cname", "untold"]) settings[name] = settings[name] === true || settings[name] === "true";
  if (!WAYS.includes(settings.way)) settings.way = BLANK.way;
  settings.pattern ||= "$FILENAME";
  return settings;
}

/** Returns what is wrong with tidy settings: names of texts by fields. */
function problemsOf(settings) {
  const { appServer, bucket, region, endpoint, cname, pattern, way } = settings;
  const problems = {};
  const checkUrl = (field, url, text) => {
    if (!canBeUrl(url)) problems[field] = text;
    else if (isMixed(asUrl(url))) problems[field] = "mixedUrl";
  };
  checkUrl("appServer", appServer, "badUrl");
  if (!/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket)) problems.bucket = "badBucket";
  if (!/^[a-z]+(-[a-z0-9]+)+$/.test(region)) problems.region = "badRegion";
  if (endpoint) checkUrl("endpoint", endpoint, "badEndpoint");
  if (cname && (!endpoint || (canBeUrl(endpoint) && isAddress(asUrl(endpoint).hostname)))) {
    problems.endpoint = "noDomain";
  }
  const path = settings[PATH_OF[way]];
  if (path && !isPath(path)) checkUrl(PATH_OF[way], /^https?:/i.test(path) ? path : "", "badPath");
  const rest = pattern.replace(PLACEHOLDER, "");
  if (/^[/\\]/.test(pattern) || /\$[A-Z_]+/.test(rest) || /[\0-\x1f]/.test(rest)) problems.pattern = "badPattern";
  if (encoder.encode(pattern).length > MAX_KEY_BYTES) problems.pattern = "badPattern";
  return problems;
}

function isPath(text) {
  return /^\/(?![/\\])[^\s\\]*$/.test(text);
}

/** Returns the URL at which the app server signs forms or URLs; null where tokens are used. */
function signerOf(settings) {
  const { appServer, way } = settings;
  const path = settings[PATH_OF[way]];
  if (path === undefined || !canBeUrl(appServer)) return null;
  if (!path) return asUrl(appServer).href;
  if (!isPath(path)) return canBeUrl(path) ? asUrl(path).href : null; // problemsOf() says more
  const { origin, search } = asUrl(appServer);
  const url = new URL(path, origin);
  url.search ||= search; // which can be a login token
  return url.href;
}

/** Returns the URL that has the bucket's objects below it, without a slash at its end. */
function baseOf({ bucket, region, endpoint, cname }) {
  const { protocol, host, hostname, origin } = new URL(endpoint || `https://oss-${region}.aliyuncs.com`);
  if (cname || hostname.startsWith(`${bucket}.`)) return origin;
  return isAddress(hostname) ? `${origin}/${bucket}` : `${protocol}//${bucket}.${host}`;
}

/** Returns what all object names of *pattern* begin with. */
function prefixOf(pattern) {
  const literal = pattern.split(PLACEHOLDER)[0];
  return literal.slice(0, literal.lastIndexOf("/") + 1);
}

/** Returns the name of an object for a file; *number* tells files of one name apart. */
function keyOf(pattern, name, number = 1) {
  const ending = /.(\.\w+)$/s.exec(name)?.[1] ?? "";
  const values = {
    FILENAME: () => name,
    EXTENSION: () => ending.slice(1),
    DATE: () => new Date().toISOString().slice(0, 10),
    UUID: makeUuid,
  };
  const key = pattern.replace(PLACEHOLDER, (_, placeholder) => values[placeholder]());
  if (number === 1) return key;
  const [, stem, last = ""] = /^(.*?[^/])(\.\w+)?$/s.exec(key) ?? [key, key];
  return `${stem} (${number})${last}`;
}

function makeUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https only
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// What is kept in the browser.  Of the settings only what somebody changed: all else is as
// the app server says it now.

/** Kept values; a browser that keeps nothing for this page is no reason to stop. */
class Kept {
  #unstored = null; // what the browser did not take holds until the page is closed

  constructor(storageName, key) {
    Object.assign(this, { storageName, key });
  }

  read() {
    if (this.#unstored) return this.#unstored;
    try {
      return JSON.parse(globalThis[this.storageName].getItem(this.key)) ?? {};
    } catch {
      return {};
    }
  }

  write(value) {
    try {
      globalThis[this.storageName].setItem(this.key, JSON.stringify(value));
      this.#unstored = null;
    } catch {
      this.#unstored = value;
    }
  }
}

const keptSettings = new Kept("localStorage", "upload-to-oss.settings");
const keptUploads = new Kept("localStorage", "upload-to-oss.unfinished");
const keptLogins = new Kept("sessionStorage", "upload-to-oss.logins"); // by origin of the app server

// A login token is for one app server, so that no link can send it to another.

function loginTokenFor(appServer) {
  return canBeUrl(appServer) ? (keptLogins.read()[asUrl(appServer).origin] ?? "") : "";
}

function keepLoginToken(appServer, token) {
  keptLogins.write({ ...keptLogins.read(), [asUrl(appServer).origin]: token });
}

function changesOf(settings, usual) {
  return Object.fromEntries(Object.entries(settings).filter(([name, value]) => value !== usual[name]));
}

/** Returns the settings in effect: what was *chosen*, else the page's, else what is *offered*. */
function merged(chosen, offered) {
  return tidy({ ...BLANK, ...offered, ...changesOf(OWN, BLANK), ...chosen });
}

/** Returns a link to this page with *settings*.  A query of the app server can be a secret. */
function linkTo(settings) {
  const shared = changesOf(settings, BLANK);
  for (const name of ["appServer", ...Object.values(PATH_OF)]) {
    if (shared[name]) shared[name] = shared[name].replace(/[?#].*$/s, "");
  }
  return `${location.href.replace(/#.*$/s, "")}#${new URLSearchParams(shared)}`;
}

/** Returns the settings in the link that led here, null if there are none. */
function readLink() {
  const fields = Array.from(new URLSearchParams(location.hash.slice(1)));
  const known = fields.filter(([name]) => name in BLANK);
  return known.length ? tidy(Object.fromEntries(known)) : null;
}
