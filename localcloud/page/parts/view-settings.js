// --- The page: settings ---------------------------------------------------------------------

let chosen = {}; // what somebody changed, as it is kept
let offer = NOTHING; // what the app server said

const form = () => byId("settings-form");

let ready = Promise.resolve(); // once it is known where files go, or that it is not

function openPanel() {
  byId("panel").open = true;
}

/** Returns what is entered. */
function entered() {
  const { appServer, bucket, region, endpoint, cname, pattern, way, formPath, urlPath, untold } = form().elements;
  return tidy({
    appServer: appServer.value,
    bucket: bucket.value,
    region: region.value,
    endpoint: endpoint.value,
    cname: cname.checked,
    pattern: pattern.value,
    way: way.value,
    formPath: formPath.value,
    urlPath: urlPath.value,
    untold: untold.checked,
  });
}

function enter(settings) {
  for (const [name, value] of Object.entries(settings)) {
    const field = form().elements[name];
    if (typeof value === "boolean") field.checked = value;
    else field.value = value;
  }
  byId("login-token").value = loginTokenFor(settings.appServer);
  showProblems({});
  showPreview();
}

/** Shows the settings of the way that is chosen. */
function showWay(way) {
  for (const [other, path] of Object.entries(PATH_OF)) byId(`${path}-field`).hidden = other !== way;
}

/** Shows what is wrong beside each field; returns whether anything is. */
function showProblems(problems) {
  for (const field of form().querySelectorAll(".field input[name]:not([type=checkbox])")) {
    const line = field.closest(".field").querySelector(".problem");
    const problem = problems[field.name];
    line.id = `${field.id}-problem`;
    if (problem) say(line, problem);
    else unsay(line);
    field.setAttribute("aria-invalid", String(Boolean(problem)));
    const hints = [line.id, field.id === "pattern" ? "pattern-hint" : ""];
    field.setAttribute("aria-describedby", hints.join(" ").trim());
  }
  const first = form().querySelector("[aria-invalid=true]");
  first?.focus();
  return Boolean(first);
}

function showPreview() {
  const settings = entered();
  showWay(settings.way);
  byId("endpoint").placeholder = settings.region ? `oss-${settings.region}.aliyuncs.com` : "";
  if (Object.keys(problemsOf(settings)).length) return unsay(byId("preview"));
  say(byId("preview"), "preview", { url: `${baseOf(settings)}/${keyOf(settings.pattern, "cat.jpg")}` });
}

function formSays(name) {
  byId("form-problem").replaceChildren();
  if (name) say(byId("form-status"), name);
  else unsay(byId("form-status"));
}

/**
 * Asks the app server that is entered where to upload; resolves to whether it was asked.
 * settle() returns the settings for what it offers.
 */
async function askForOffer(settings, settle) {
  const problems = Object.entries(problemsOf(settings));
  const addresses = problems.filter(([name]) => ["appServer", PATH_OF[settings.way]].includes(name));
  if (showProblems(Object.fromEntries(addresses))) return false;
  keepLoginToken(settings.appServer, byId("login-token").value.trim());
  offer = await askOffer(settings.appServer, settle);
  return true;
}

async function fill() {
  const settings = entered();
  formSays(null);
  try {
    if (!(await askForOffer(settings, (offered) => ({ ...settings, ...offered })))) return;
    const { offered } = offer;
    if (offered) enter({ ...settings, ...offered });
    formSays(offered ? "filled" : "notFilled");
  } catch (error) {
    showProblem(byId("form-problem"), error);
  }
}

/** Lets what is entered take effect, and keeps it. */
async function apply() {
  let settings = entered();
  formSays(null);
  try {
    const usual = offer.offered?.pattern;
    const settle = (offered) => (settings.bucket ? settings : { ...settings, ...offered });
    if (!(await askForOffer(settings, settle))) return;
    settings = settle(offer.offered);
    // What was offered for another way is not what somebody wants.
    if (settings.pattern === usual && offer.offered) settings = { ...settings, pattern: offer.offered.pattern };
  } catch (error) {
    offer = NOTHING;
    if (!settings.bucket) return showProblem(byId("form-problem"), error);
  }
  enter(settings);
  if (showProblems(problemsOf(settings))) return;
  chosen = changesOf(settings, merged({}, offer.offered));
  keptSettings.write(chosen);
  leaveLink();
  connect(settings);
  formSays("isSet");
}

/** Goes back to what the page came with. */
async function reset() {
  keptSettings.write({});
  leaveLink();
  await begin();
  formSays(null);
}

function leaveLink() {
  byId("from-link").hidden = true;
  if (location.hash) history.replaceState(null, "", location.href.replace(/#.*$/s, ""));
}

async function share() {
  formSays((await copy(linkTo(entered()))) ? "shared" : "notCopied");
}

/** Uploads to where *settings* say from now on; what is under way goes on where it was. */
function connect(settings) {
  const { token } = offer;
  const next = new Connection(settings, offer);
  connection = next;
  next.tokens.onFailure = (error) => connection === next && showError("token", error);
  next.tokens.onToken = () => {
    signReferences();
    if (connection !== next) return;
    showToken();
    showError("token", null);
    if (hasNoList && !isListing) void showObjects();
  };
  errors.clear();
  showError("token", null);
  showPlace();
  showToken();
  byId("outside-result").hidden = true;
  hideUnfinished();
  forgetObjects();
  void showUnfinished(next);
  if (token) next.tokens.take(token);
  else void showObjects();
}

/** Takes the settings of the browser, of the page and of the app server, in this order. */
function begin() {
  ready = takeSettings();
  return ready;
}

async function takeSettings() {
  chosen = keptSettings.read();
  const { appServer } = merged(chosen, null);
  connection = null;
  offer = NOTHING;
  let problem = null;
  if (appServer) {
    offer = await askOffer(appServer, (offered) => merged(chosen, offered)).catch((error) => {
      problem = error;
      return offer;
    });
  }
  const settings = merged(chosen, offer.offered);
  enter(settings);
  const isComplete = !Object.keys(problemsOf(settings)).length;
  if (isComplete) connect(settings);
  else {
    showPlace();
    showToken();
    say(byId("objects-status"), "notListed");
    openPanel();
    showError("token", problem);
  }
  const linked = readLink();
  const isNew = linked !== null && Object.keys(changesOf(linked, settings)).length > 0;
  byId("from-link").hidden = !isNew;
  if (isNew) {
    enter(linked);
    openPanel();
  }
}

function watchForm() {
  form().addEventListener("submit", (event) => {
    event.preventDefault();
    void apply();
  });
  form().addEventListener("input", ({ target }) => {
    if (target.name === "endpoint") byId("cname").checked = looksLikeDomain(target.value.trim());
    if (target.name === "appServer") byId("login-token").value = loginTokenFor(target.value.trim());
    formSays(null);
    showPreview();
  });
  byId("fill").addEventListener("click", fill);
  byId("share").addEventListener("click", share);
  byId("reset").addEventListener("click", reset);
}
