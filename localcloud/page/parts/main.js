// --- The page comes to life -------------------------------------------------------------------

/** Takes files that are dropped anywhere; one beside a drop zone would replace the page. */
function takeDrops() {
  const zone = byId("drop-zone");
  const handle = (type, isOver, action) =>
    document.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.toggle("is-over", isOver(event));
      action?.(event.dataTransfer);
    });
  handle("dragenter", () => true);
  handle("dragover", () => true);
  handle("dragleave", (event) => event.relatedTarget !== null);
  handle("drop", () => false, (dropped) => {
    const files = Array.from(dropped.items).filter(({ kind }) => kind === "file");
    const folders = files.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
    if (folders.length) say(byId("hint"), "folders");
    else showHint();
    addFiles(files.filter((item) => !folders.includes(item)).map((item) => item.getAsFile()));
  });
}

function takeChoice(input, take) {
  input.addEventListener("change", () => {
    take(Array.from(input.files));
    input.value = ""; // so that the same file can be chosen again
  });
}

function main() {
  setLanguage(language);
  byId("language").addEventListener("click", () => setLanguage(otherLanguage()));
  takeChoice(byId("file-input"), addFiles);
  takeChoice(byId("same-file"), takeSameFile);
  takeDrops();
  watchForm();
  byId("clear").addEventListener("click", () => {
    uploads.filter(({ state }) => state === "done").forEach(removeRow);
    byId("file-input").focus();
  });
  byId("retry-all").addEventListener("click", () => {
    retry(uploads.filter(({ state }) => state === "failed"));
    byId("file-input").focus(); // as the button is gone
  });
  byId("retry").addEventListener("click", () => {
    errors.clear();
    if (connection) void showObjects();
    else void begin();
  });
  byId("refresh").addEventListener("click", showObjects);
  byId("watermark").addEventListener("change", () => items.forEach(showProcessed));
  byId("outside-button").addEventListener("click", tryOutside);
  window.addEventListener("online", () => {
    retryLost(0);
    if (hasNoList) void showObjects();
  });
  window.addEventListener("hashchange", begin);
  window.addEventListener("beforeunload", (event) => running && event.preventDefault());
  document.addEventListener("visibilitychange", tick);
  setInterval(tick, 1000);
  void begin();
}

main();
