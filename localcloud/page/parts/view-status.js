// --- The page: where files go, the token, errors, and links to objects ------------------

let connection = null; // of the settings in effect; null until there are enough of them

const errors = new Map(); // the last of token, cancel and page, until it works again

function showError(source, error) {
  errors.delete(source);
  if (error) errors.set(source, error);
  const last = Array.from(errors.values()).at(-1);
  if (last) showProblem(document.querySelector("#error .problem"), last);
  else if (document.activeElement === byId("retry")) byId("refresh").focus();
  byId("error").hidden = !last;
}

function showPlace() {
  const place = connection?.place;
  const name = { form: "placeForm", url: "placeUrl" }[connection?.signer && connection.settings.way] ?? "place";
  say(byId("place"), connection ? name : "noPlace", { place });
  showHint();
  say(byId("outside-text"), "limitsText", { place });
  byId("stand-in").hidden = !connection || !isStandIn(new URL(connection.base).hostname);
  byId("outside").hidden = !connection || connection.signer !== null || OUTSIDE_KEY.startsWith(connection.prefix);
}

/** Shows below the button which files are taken. */
function showHint() {
  if (!connection?.signer) return say(byId("hint"), "hint");
  const { content_types: types = [], max_size: most = Infinity, min_size: least = 0 } = connection.limits ?? {};
  const parts = () => [
    types.join(text("or")),
    most < MAX_OBJECT_BYTES && text("atMost", { size: formatBytes(most) }),
    least > 0 && text("atLeast", { size: formatBytes(least) }),
  ];
  const limits = () => parts().filter(Boolean).join(language === "en" ? ", " : "，");
  say(byId("hint"), parts().some(Boolean) ? "onlySome" : "noLimits", { limits });
}

function showToken() {
  const { tokens } = connection ?? {};
  const { current, secondsLeft, isFresh } = tokens ?? {};
  const state = !current ? "none" : secondsLeft <= 0 ? "expired" : isFresh ? "fresh" : "expiring";
  const names = { none: tokens && !tokens.areThere ? "tokensNone" : "tokenNone", expired: "tokenExpired" };
  const name = names[state] ?? "tokenExpires";
  byId("token").dataset.state = state;
  byId("token-id").textContent = current?.AccessKeyId ?? "";
  say(byId("token-expires"), name, {
    time: () => formatTime(current.expiresAt, { timeStyle: "medium" }),
    left: () => formatSeconds(secondsLeft),
  });
}

/** Shows the countdown, and renews the token while somebody looks at the page. */
function tick() {
  showToken();
  if (!connection || document.hidden) return;
  const { tokens } = connection;
  const wasJustAsked = performance.now() - tokens.askedAt < TIMER_PAUSE_MS;
  if (!tokens.isFresh && !wasJustAsked) tokens.fetch().catch(() => {});
  retryLost(LOST_PAUSE_MS);
}

// A link or a picture refers to an object by a URL that lives as long as its token.

const references = new WeakMap(); // {connection, key, process} by element

/** Makes *element*, a link or a picture, refer to an object, from now on. */
function refer(element, connection, key, process = "") {
  element.dataset.object = "";
  references.set(element, { connection, key, process });
  return signReference(element);
}

async function signReference(element) {
  const isPicture = element.tagName === "IMG";
  const reference = references.get(element);
  try {
    const { url } = await reference.connection.presigned(reference.key, reference.process);
    if (references.get(element) === reference) element[isPicture ? "src" : "href"] = url;
  } catch {
    // There is no token, as the page shows; the next one brings us here again.
  }
}

function signReferences() {
  for (const element of document.querySelectorAll("[data-object]")) {
    if (element.tagName === "IMG" && element.complete && element.naturalWidth) continue; // it is there already
    void signReference(element);
  }
}

/** Copies a link to the object, and says in *element* how long it works. */
async function copyLink(element, connection, key, process = "") {
  try {
    const { url, seconds } = await connection.presigned(key, process);
    const isCopied = await copy(url);
    const left = () => text("minutes", { count: Math.floor(seconds / 60) });
    say(element, isCopied ? "copied" : "notCopied", { left });
  } catch (error) {
    showError("token", error);
  }
}

/** Copies text; resolves to whether that worked. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages from http have no clipboard, but can copy what is selected.
  }
  const before = document.activeElement;
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "off-screen" });
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  before?.focus();
  return isCopied;
}

/** Returns an img that covers what is in *thumb*, once it is loaded. */
function addPicture(thumb) {
  const image = document.createElement("img");
  // Dragged and dropped here, the picture would be one more file to upload.
  Object.assign(image, { alt: "", loading: "lazy", decoding: "async", draggable: false });
  image.addEventListener("error", () => (image.style.opacity = 0));
  image.addEventListener("load", () => (image.style.opacity = 1)); // with a new token, it may
  thumb.append(image);
  return image;
}

function endingOf(name) {
  return /\.(\w{1,4})$/.exec(name)?.[1].toUpperCase() ?? "";
}
