// --- The page: uploads -------------------------------------------------------------------

const RANKS = ["uploading", "failed", "unfinished", "waiting", "done"]; // from the top

const uploads = []; // in the order in which they were chosen
let running = 0;
let rowsMade = 0;
let hasNew = false; // in the bucket, since it was listed
let lostAt = -Infinity; // when OSS was last not reached, by performance.now()
let wanting = null; // the unfinished upload whose file is being chosen

/** Returns a key that nothing here has: many phones call each new photo image.jpg. */
function freeKey(name) {
  const taken = new Set([...items.keys(), ...uploads.map(({ key }) => key)]);
  const { pattern } = connection.settings;
  for (let number = 1; ; number++) {
    const key = keyOf(pattern, name, number);
    if (!taken.has(key)) return key;
  }
}

async function addFiles(files) {
  await ready;
  if (!connection) {
    openPanel();
    byId("app-server").focus();
    return;
  }
  for (const file of files) {
    const begun = uploads.find((upload) => upload.state === "unfinished" && upload.isOf(file));
    if (begun) begun.wait(file);
    else addUpload(new Upload(connection, file, freeKey(file.name), showUpload));
  }
  startUploads();
  byId("upload-section").scrollIntoView({ block: "nearest" });
}

function addUpload(upload) {
  upload.serial = ++rowsMade;
  upload.row = makeRow(upload);
  uploads.push(upload);
  showUpload(upload);
}

/** Shows what was begun before the page was loaded, and is not done. */
async function showUnfinished(connection) {
  for (const record of await findUnfinished(connection)) {
    if (uploads.some(({ uploadId }) => uploadId === record.uploadId)) continue;
    addUpload(Upload.unfinished(connection, record, showUpload));
  }
}

/** Takes away what is unfinished elsewhere, now that files go to another place. */
function hideUnfinished() {
  uploads.filter(({ state }) => state === "unfinished").forEach(removeRow);
}

function startUploads() {
  while (running < FILES_AT_ONCE) {
    const upload = uploads.find(({ state }) => state === "waiting");
    if (!upload) break;
    running++;
    upload.run().catch((error) => showError("cancel", error)).finally(() => {
      running--;
      if (upload.isLost) lostAt = performance.now();
      if (upload.state === "done") {
        hasNew = true;
        retryLost(0); // as the network is back
      }
      startUploads();
      if (!running && hasNew) void showObjects();
    });
  }
}

function retry(some) {
  for (const upload of some) upload.wait();
  startUploads();
}

/** Tries again what got no reply: after *pause* one to see, else all. */
function retryLost(pause) {
  const lost = uploads.filter(({ isLost }) => isLost);
  if (!lost.length || (pause && (running || performance.now() - lostAt < pause))) return;
  retry(pause ? lost.slice(0, 1) : lost);
}

function makeRow(upload) {
  const { file, key, connection } = upload;
  const row = byId("upload-template").content.firstElementChild.cloneNode(true);
  const [thumb, name, progress] = row.querySelectorAll(".thumb, .name, progress");
  const [resume, choose, copy, cancel] = row.querySelectorAll("button");
  copy.hidden = !connection.tokens.areThere;
  name.id = `upload-${upload.serial}`;
  progress.setAttribute("aria-labelledby", name.id);
  for (const button of [resume, choose, copy, cancel]) {
    button.id = `${name.id}-${button.dataset.action}`;
    button.setAttribute("aria-labelledby", `${button.id} ${name.id}`);
  }
  say(choose, "chooseAgain");
  say(copy, "copyLink");
  thumb.dataset.ending = endingOf(upload.name);
  if (file?.type.startsWith("image/")) {
    const image = addPicture(thumb);
    image.src = URL.createObjectURL(file);
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  }
  resume.addEventListener("click", () => {
    retry([upload]);
    cancel.focus(); // as the button that had the focus is gone
  });
  choose.addEventListener("click", () => {
    wanting = upload;
    byId("same-file").click();
  });
  copy.addEventListener("click", () => copyLink(row.querySelector(".state"), connection, key));
  cancel.addEventListener("click", () => upload.cancel().catch((error) => showError("cancel", error)));
  return row;
}

/** Goes on with the unfinished upload whose file was asked for. */
function takeSameFile([file]) {
  if (!file || wanting?.state !== "unfinished") return;
  const upload = wanting;
  if (!upload.isOf(file)) {
    const problem = upload.row.querySelector(".problem");
    problem.hidden = false;
    return showProblem(problem, new PageError("otherFile"));
  }
  upload.wait(file);
  startUploads();
}

function showUpload(upload) {
  const { size, key, row, state, error, unreported, fractionSent, isResumable, connection } = upload;
  const [name, line, progress, problem, report] = row.querySelector(".body").children;
  const hadFocus = row.contains(document.activeElement);
  if (state === "cancelled") {
    removeRow(upload);
    if (hadFocus) byId("file-input").focus();
    return;
  }
  if (row.dataset.key !== key) {
    row.dataset.key = key; // which the app server may choose
    name.firstElementChild.textContent = name.title = connection.nameOf(key);
  }
  progress.value = fractionSent;
  if (row.dataset.state === state && state === "done") return; // the line may say what was copied
  say(line, unreported ? "doneUnreported" : state, {
    size: () => formatBytes(size),
    percent: () => new Intl.NumberFormat(language, { style: "percent" }).format(fractionSent),
  });
  if (row.dataset.state === state) return;
  row.dataset.state = state; // by which the stylesheet shows and hides
  say(row.querySelector("[data-action=resume]"), isResumable ? "resume" : "again");
  say(row.querySelector("[data-action=cancel]"), state === "unfinished" ? "discard" : "cancel");
  problem.hidden = !(error ?? unreported);
  if (!problem.hidden) showProblem(problem, error ?? unreported);
  report.hidden = !upload.report;
  if (upload.report) say(report, "reported", { facts: () => factsOf(upload.report) });
  const link = name.firstElementChild;
  if (state === "done") void refer(link, connection, key).then(() => hadFocus && link.focus());
  putInPlace(upload);
  showSummary();
}

/** Returns what the app server heard of an upload: "64 × 48, image/png, 152 bytes, by alice". */
function factsOf({ width, height, type, size, user }) {
  const facts = [
    width && height && `${width} × ${height}`,
    type,
    Number.isFinite(size) && formatBytes(size),
    user && text("reportedBy", { user }),
  ];
  return facts.filter(Boolean).join(language === "en" ? ", " : "，") || text("nothingMore");
}

/** Puts a row where it belongs: what is active on top, then what needs somebody, newest first. */
function putInPlace(upload) {
  const { row } = upload;
  const focused = row.contains(document.activeElement) ? document.activeElement : null;
  const rank = ({ state }) => RANKS.indexOf(state);
  const comesAfter = (other) => rank(other) - rank(upload) || upload.serial - other.serial;
  const others = new Map(uploads.map((other) => [other.row, other]));
  const next = Array.from(byId("uploads").children).find(
    (element) => element !== row && comesAfter(others.get(element)) > 0,
  );
  if (row.parentNode && row.nextElementSibling === (next ?? null)) return;
  byId("uploads").insertBefore(row, next ?? null);
  focused?.focus({ preventScroll: true });
}

function removeRow(upload) {
  upload.row.remove();
  uploads.splice(uploads.indexOf(upload), 1);
  showSummary();
}

function showSummary() {
  const count = (wanted) => uploads.filter(({ state }) => state === wanted).length;
  const [done, failed, total] = [count("done"), count("failed"), uploads.length];
  byId("upload-section").hidden = !total;
  byId("clear").hidden = !done;
  byId("retry-all").hidden = !failed;
  say(byId("status"), failed ? "summaryFailed" : "summary", { done, failed, total });
}
