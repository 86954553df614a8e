// --- The page: what is in the bucket -------------------------------------------------------

let items = new Map(); // of the list, by key
let isListing = false;
let hasChanged = false; // since the listing under way began
let hasNoList = true;
let itemsMade = 0;

/** Lists the bucket; however often it is called meanwhile, only once more. */
async function showObjects() {
  hasChanged = true;
  hasNew = false;
  if (isListing || !connection) return;
  if (!connection.tokens.areThere) return say(byId("objects-status"), "tokensNone");
  isListing = true;
  while (hasChanged) {
    hasChanged = false;
    await showObjectsOnce(connection);
  }
  isListing = false;
}

async function showObjectsOnce(asked) {
  const status = byId("objects-status");
  if (hasNoList) say(status, "listing");
  try {
    const { objects, hasMore } = await asked.list();
    if (asked !== connection) return;
    items = new Map(objects.map((object) => [object.key, makeItem(object)]));
    byId("objects").replaceChildren(...items.values());
    say(status, hasMore ? "more" : items.size ? "count" : "empty", { count: items.size });
    hasNoList = false;
    showObjectsProblem(null);
  } catch (error) {
    if (asked !== connection) return;
    hasNoList = true;
    say(status, "notListed");
    if (error.service === "appServer") return showObjectsProblem(null); // shown on top already
    showObjectsProblem(error.code === "AccessDenied" ? "listRefused" : "listFailed", {}, error);
  }
}

/** Shows above the list what OSS refused; it is not about any upload. */
function showObjectsProblem(name, values, error) {
  const box = byId("objects-problem");
  box.hidden = !name;
  if (!name) return;
  say(box.children[0], name, values);
  showProblem(box.children[1], error);
}

function forgetObjects() {
  items = new Map();
  hasNoList = true;
  byId("objects").replaceChildren();
  byId("unprocessed").hidden = true;
  unsay(byId("objects-status"));
  showObjectsProblem(null);
}

/** Returns the list item of an object; one that has not changed keeps its own. */
function makeItem({ key, size, time, etag }) {
  const version = `${etag} ${time}`;
  const old = items.get(key);
  if (old?.dataset.version === version) return old;
  const item = byId("object-template").content.firstElementChild.cloneNode(true);
  const [link, about, actions] = item.children;
  const [thumb, name] = link.children;
  const asked = connection;
  Object.assign(item.dataset, { key, version });
  link.title = name.textContent = asked.nameOf(key);
  name.id = `object-${++itemsMade}`;
  thumb.dataset.ending = endingOf(key);
  if (PICTURE.test(key)) addThumbnail(thumb);
  showProcessed(item);
  const isToday = new Date(time).toDateString() === new Date().toDateString();
  say(about, "aboutObject", {
    size: () => formatBytes(size),
    time: () => formatTime(time, isToday ? { timeStyle: "short" } : { dateStyle: "medium" }),
  });
  for (const button of actions.children) {
    button.id = `${name.id}-${button.dataset.action}`;
    button.setAttribute("aria-labelledby", `${button.id} ${name.id}`);
  }
  const [copy, remove] = actions.children;
  say(copy, "copyLink");
  copy.addEventListener("click", () => copyLink(about, asked, key, processOf(key)));
  askTwice(remove, () => removeObject(asked, item));
  return item;
}

// Pictures, as Image Processing of OSS makes them: small, and with a watermark if wanted.

function processOf(key) {
  return byId("watermark").checked && PROCESSED.test(key) ? WATERMARK : "";
}

/** Adds a picture that OSS makes small; where OSS does not, it is shown as it is. */
function addThumbnail(thumb) {
  const image = addPicture(thumb);
  image.addEventListener("error", () => {
    const reference = references.get(image);
    const { connection, key, process, refused } = reference;
    // What fails as it is, too, may do better with the next token.
    if (process) void refer(image, connection, key).then(() => (references.get(image).refused = process));
    else if (refused) references.set(image, { ...reference, process: refused, refused: "" });
  });
  image.addEventListener("load", () => {
    if (references.get(image).refused) byId("unprocessed").hidden = false;
  });
}

function showProcessed(item) {
  const { key } = item.dataset;
  const process = processOf(key);
  void refer(item.querySelector("a"), connection, key, process);
  const image = item.querySelector("img");
  if (!image) return;
  const thumbnail = PROCESSED.test(key) ? THUMBNAIL : "";
  void refer(image, connection, key, [thumbnail, process].filter(Boolean).join("/"));
}

// Deleting

/** Lets a button that cannot be taken back ask before it acts. */
function askTwice(button, act) {
  let timer = 0;
  const calmDown = () => {
    clearTimeout(timer);
    timer = 0;
    say(button, "remove");
  };
  button.addEventListener("blur", calmDown);
  button.addEventListener("click", () => {
    const isSure = timer;
    calmDown();
    if (isSure) return act();
    say(button, "reallyRemove");
    timer = setTimeout(calmDown, 5000); // where a click gives no focus there is no blur
  });
  calmDown();
}

async function removeObject(asked, item) {
  const { key } = item.dataset;
  try {
    await asked.request({ method: "DELETE", key });
  } catch (error) {
    const name = error.code === "AccessDenied" ? "deleteRefused" : "deleteFailed";
    showObjectsProblem(name, { name: asked.nameOf(key) }, error);
    byId("objects-problem").scrollIntoView({ block: "nearest" });
    return;
  }
  uploads.filter((upload) => upload.state === "done" && upload.key === key).forEach(removeRow);
  if (item.contains(document.activeElement)) byId("refresh").focus();
  void showObjects();
}

// Outside the prefix

async function tryOutside() {
  const result = byId("outside-result");
  if (result.dataset.outcome === "trying") return;
  const [verdict, problem] = result.children;
  const conclude = (outcome) => {
    result.dataset.outcome = outcome;
    result.role = outcome === "written" ? "alert" : "status";
    result.hidden = false;
    say(verdict, outcome, { key: OUTSIDE_KEY });
  };
  problem.replaceChildren();
  conclude("trying");
  try {
    await connection.request({
      method: "PUT",
      key: OUTSIDE_KEY,
      type: "text/plain",
      body: new Blob(["hello\n"]),
    });
    conclude("written");
  } catch (error) {
    conclude(error.code === "AccessDenied" ? "refused" : "unclear");
    showProblem(problem, error);
  }
  result.scrollIntoView({ block: "nearest" }); // on a phone it begins below the screen
}
