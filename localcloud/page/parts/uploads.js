// --- Uploads ---------------------------------------------------------------------------

/**
 * A file on its way to OSS: waiting, uploading, then done, failed or cancelled.  One that is
 * unfinished was begun before the page was loaded, and needs its file again.
 */
class Upload {
  state = "waiting";
  error = null;
  file = null;
  report = null; // what the app server said when OSS told it of the upload
  unreported = null; // the error, if OSS could not tell it
  uploadId = null; // of a file that goes in parts
  etags = new Map(); // of the parts that are there, by part number
  sent = new Map(); // bytes of each part that have left
  #stop = null; // an AbortController, while it runs

  constructor(connection, file, key, onChange) {
    const { name, size, lastModified } = file;
    Object.assign(this, { connection, file, key, onChange, name, size, lastModified });
    this.wanted = key; // even if the app server calls it otherwise
    this.type = file.type || "application/octet-stream";
    this.partBytes = Math.max(MIN_PART_BYTES, Math.ceil(size / MAX_PARTS));
  }

  /** Returns the unfinished upload that a record of keptUploads is about. */
  static unfinished(connection, record, onChange) {
    const { key, name, size, lastModified, type, uploadId, partBytes } = record;
    const upload = new Upload(connection, { name, size, lastModified, type }, key, onChange);
    return Object.assign(upload, { file: null, state: "unfinished", uploadId, partBytes });
  }

  get fractionSent() {
    const sent = Array.from(this.sent.values()).reduce((sum, bytes) => sum + bytes, 0);
    return this.size ? sent / this.size : 0;
  }

  get isResumable() {
    return this.uploadId !== null;
  }

  /** Tells whether OSS was not reached: it may be when the network is back. */
  get isLost() {
    return this.state === "failed" && this.error instanceof NoReply;
  }

  /** Tells whether *file* is likely the one that was begun. */
  isOf({ name, size, lastModified }) {
    return name === this.name && size === this.size && lastModified === this.lastModified;
  }

  wait(file = this.file) {
    this.file = file;
    this.#become("waiting");
  }

  /** Uploads the file, or what of it is not there yet. */
  async run() {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#become("uploading");
    try {
      const reply = await wayOf(this)(this, signal);
      this.report = reportIn(reply);
      if (reply.status === CALLBACK_FAILED) this.unreported = new OssError(reply, `${this.connection.settings.bucket}/${this.key}`);
      this.#become("done");
      forget(this);
    } catch (error) {
      if (signal.aborted) await this.#forgetParts();
      else this.#become("failed", error);
    } finally {
      this.#stop = null;
    }
  }

  async cancel() {
    this.#become("cancelled");
    if (this.#stop) this.#stop.abort(); // and run() does the rest
    else await this.#forgetParts();
  }

  progressOf(number) {
    return (bytes) => {
      this.sent.set(number, bytes);
      this.onChange(this);
    };
  }

  #become(state, error = null) {
    if (this.state === "cancelled") return;
    Object.assign(this, { state, error });
    this.onChange(this);
  }

  /** Has OSS delete the parts of a cancelled upload, which would cost money for ever. */
  async #forgetParts() {
    forget(this);
    if (!this.uploadId) return;
    const { connection, key, uploadId } = this;
    try {
      await connection.request({ method: "DELETE", key, query: { uploadId } });
    } catch (error) {
      if (error.code !== "NoSuchUpload") throw error;
    }
  }
}

// What is kept of uploads that may not end here.  Another tab may be at one of them: it has
// a lock on it as long as it lives, and no other offers to go on.

function remember({ connection, key, name, size, lastModified, type, uploadId, partBytes }) {
  const record = { base: connection.base, key, name, size, lastModified, type, partBytes };
  keptUploads.write({ ...keptUploads.read(), [uploadId]: record });
  hold(uploadId);
}

const held = new Set();

function hold(uploadId) {
  if (held.has(uploadId)) return;
  held.add(uploadId);
  navigator.locks?.request(uploadId, () => new Promise(() => {})).catch(() => {}); // as long as this page lives
}

function forget({ uploadId }) {
  if (!uploadId) return;
  const { [uploadId]: _, ...others } = keptUploads.read();
  keptUploads.write(others);
}

/** Resolves to the records of what was begun with *connection* and is in no other tab. */
async function findUnfinished({ base }) {
  const locks = await navigator.locks?.query().catch(() => null);
  const names = new Set([...held, ...(locks?.held ?? []).map(({ name }) => name)]);
  return Object.entries(keptUploads.read())
    .filter(([uploadId, record]) => record.base === base && !names.has(uploadId))
    .map(([uploadId, record]) => ({ ...record, uploadId }));
}

// The ways of an upload: each takes it and a signal that ends it, and resolves to the last
// reply.

function wayOf({ connection, size, uploadId }) {
  const { way } = connection.settings;
  if (connection.signer && !uploadId) return sendSigned;
  const inParts = size > 0 && (uploadId || way === "resumable" || (way === "size" && size > MULTIPART_ABOVE));
  return inParts ? sendParts : sendWhole;
}

function sendWhole(upload, signal) {
  const { connection, key, type, file } = upload;
  const onProgress = upload.progressOf(1);
  return connection.request({ method: "PUT", key, type, isReported: true, body: file, onProgress, signal });
}

function sendSigned(upload, signal) {
  const { connection, wanted, type, file } = upload;
  const onKey = (key) => Object.assign(upload, { key });
  return connection.upload({ key: wanted, type, file, onProgress: upload.progressOf(1), onKey, signal });
}

async function sendParts(upload, signal) {
  const { connection, file, key, partBytes, etags } = upload;
  const slice = (number) => file.slice((number - 1) * partBytes, number * partBytes);
  if (upload.uploadId) {
    hold(upload.uploadId);
    await seeWhatIsThere(upload, slice, signal);
  }
  if (!upload.uploadId) await initiate(upload);
  const numbers = Array.from({ length: Math.ceil(file.size / partBytes) }, (_, index) => index + 1);
  const missing = numbers.filter((number) => !etags.has(number));
  const sender = async () => {
    try {
      while (missing.length) {
        const number = missing.shift();
        await sendPart(upload, number, slice(number), signal);
      }
    } catch (error) {
      missing.length = 0; // the other senders finish the part they are at
      throw error;
    }
  };
  const senders = await Promise.allSettled(Array.from({ length: PARTS_AT_ONCE }, sender));
  const failed = senders.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  const parts = numbers.map(
    (number) => `<Part><PartNumber>${number}</PartNumber><ETag>${etags.get(number)}</ETag></Part>`,
  );
  const body = new Blob(["<CompleteMultipartUpload>", ...parts, "</CompleteMultipartUpload>"]);
  const query = { uploadId: upload.uploadId };
  return connection.request({ method: "POST", key, query, type: "application/xml", isReported: true, body, signal });
}

async function initiate(upload) {
  const { connection, key, type } = upload; // and no signal: what has no id yet cannot be forgotten
  const reply = await connection.request({ method: "POST", key, query: { uploads: "" }, type });
  upload.uploadId = records(reply, "InitiateMultipartUploadResult")[0].UploadId;
  remember(upload);
}

async function sendPart(upload, number, body, signal) {
  const { connection, key, uploadId } = upload;
  const query = { partNumber: String(number), uploadId };
  const type = "application/octet-stream";
  const onProgress = upload.progressOf(number);
  const reply = await connection.request({ method: "PUT", key, query, type, body, onProgress, signal });
  const etag = reply.getResponseHeader("ETag");
  if (!etag) throw new PageError("hiddenETag");
  upload.etags.set(number, etag);
}

/** Takes the parts that OSS has as sent; of an upload that OSS has no more, none. */
async function seeWhatIsThere(upload, slice, signal) {
  const { connection, key, etags, sent } = upload;
  etags.clear();
  sent.clear();
  const query = { uploadId: upload.uploadId, "max-parts": "1000" };
  try {
    for (let isTruncated = true; isTruncated; ) {
      const reply = await connection.request({ method: "GET", key, query, signal });
      for (const { PartNumber, ETag, Size } of records(reply, "Part")) {
        const number = Number(PartNumber);
        if (slice(number).size !== Number(Size)) continue;
        etags.set(number, ETag);
        sent.set(number, Number(Size));
      }
      const [page] = records(reply, "ListPartsResult");
      isTruncated = page.IsTruncated === "true";
      query["part-number-marker"] = page.NextPartNumberMarker;
    }
  } catch (error) {
    if (error.code !== "NoSuchUpload") throw error;
    forget(upload);
    upload.uploadId = null;
    etags.clear();
    sent.clear();
  }
  upload.onChange(upload);
}
