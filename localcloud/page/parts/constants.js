"use strict";

const byId = (id) => document.getElementById(id);

const MIB = 1024 * 1024;
const MULTIPART_ABOVE = 4 * MIB; // by size: smaller files go in one request
const MIN_PART_BYTES = MIB; // OSS takes parts of 100 KiB and more,
const MAX_PARTS = 10000; // and this many of them
const PARTS_AT_ONCE = 3;
const FILES_AT_ONCE = 2; // with three parts each: a browser's six connections

const RETRIES = 3; // of a request that got no reply, or a 5xx
const BACKOFF_MS = 300; // before the first, then twice as long each time
const STALL_MS = 60_000; // without a byte either way: the connection is given up
const APP_SERVER_MS = 15_000; // it answers within 8 s, whatever STS does
const PROBE_MS = 5_000; // to find out why there was no reply
const LOST_PAUSE_MS = 30_000; // before uploads that got no reply are tried again

const CALLBACK_MS = 600_000; // that what makes OSS report an upload is used: it is good for 75 min

const REFRESH_MARGIN = 300; // seconds; the mobile SDKs take the same
const ASK_PAUSE_MS = 5_000; // at least, between attempts to renew a token that still works
const TIMER_PAUSE_MS = 30_000; // the same where nobody waits for the token

const CALLBACK_FAILED = 203; // the object is stored, but the app server did not hear of it

const LIST_PAGE = 500; // objects in a reply, of at most 1000
const LIST_LIMIT = 1000; // objects shown
const MAX_URL_SECONDS = 604_800; // a presigned URL lives no longer, by OSS
const MAX_OBJECT_BYTES = 5 * 1024 * MIB; // in one request
const MAX_KEY_BYTES = 1023; // of an object name, in UTF-8
const OUTSIDE_KEY = "not-yours/hello.txt";

const PICTURE = /\.(avif|bmp|gif|heic|ico|jpe?g|png|svg|tiff?|webp)$/i;
const PROCESSED = /\.(avif|bmp|gif|heic|jpe?g|png|tiff?|webp)$/i; // what Image Processing takes
const THUMBNAIL = "resize,m_fill,w_320,h_320";
const WATERMARK = `watermark,text_${btoa("OSS").replace(/=+$/, "")},color_FFFFFF,shadow_50,g_se,x_12,y_10`;
