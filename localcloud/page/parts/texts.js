// --- Texts, in English and in Chinese ------------------------------------------------

const TEXTS = {
  title: ["Upload to OSS", "上传到 OSS"],
  place: ["Files go straight to {place} with a temporary token.", "文件使用临时访问凭证直接传到 {place}。"],
  placeForm: ["Files go straight to {place} by forms that the app server signs.", "文件使用应用服务器签名的表单直接传到 {place}。"],
  placeUrl: ["Files go straight to {place} by URLs that the app server signs.", "文件使用应用服务器签名的 URL 直接传到 {place}。"],
  noPlace: ["Say in the settings where files go.", "请先在设置中填写上传位置。"],
  language: ["中文", "English"],
  standIn: ["Stand-in.", "模拟服务。"],
  standInText: [
    "This OSS is a program on a computer near you. Nothing goes to Alibaba Cloud, and the tokens are good for nothing else.",
    "此 OSS 是本地计算机上的一个程序。数据不会传到阿里云，访问凭证也不能用于别处。",
  ],

  settings: ["Settings", "设置"],
  fromLink: [
    "These settings came with the link. Check them, and press Set if files should go there.",
    "这些设置来自链接。请核对，确认要上传到此处后再点击“应用设置”。",
  ],
  appServer: ["App server", "应用服务器"],
  fill: ["Fill in", "自动填写"],
  filled: ["Filled in as the app server says.", "已按应用服务器的返回填写。"],
  notFilled: ["The app server does not say where the bucket is. Enter it.", "应用服务器没有返回 Bucket 的位置，请手动填写。"],
  loginToken: ["Login token, if the app server asks for one", "登录令牌（应用服务器要求登录时填写）"],
  loginHint: ["Kept in this tab for this app server, and never put into a link.", "仅保存在此标签页中，仅发送给此应用服务器，不会写入链接。"],
  bucket: ["Bucket", "Bucket 名称"],
  region: ["Region", "地域"],
  endpoint: ["Endpoint or custom domain", "Endpoint 或自定义域名"],
  cname: ["It is a custom domain of the bucket (CNAME)", "是绑定到 Bucket 的自定义域名（CNAME）"],
  pattern: ["Object name", "文件（Object）名称"],
  patternHint: [
    "With $FILENAME, $EXTENSION, $DATE or $UUID for each file",
    "可使用 $FILENAME、$EXTENSION、$DATE、$UUID，按每个文件替换",
  ],
  way: ["How to upload", "上传方式"],
  waySize: ["By size: in parts from 4 MB", "按大小：超过 4 MB 时分片上传"],
  waySimple: ["Simple: in one request", "简单上传：一次请求"],
  wayResumable: ["Resumable: always in parts", "断点续传：始终分片上传"],
  wayForm: ["Form: signed by the app server, with limits", "表单：由应用服务器签名，可限制大小和类型"],
  wayUrl: ["URL: signed by the app server", "预签名 URL：由应用服务器签名"],
  formPath: ["Path at which the app server signs forms", "应用服务器签名表单的路径"],
  urlPath: ["Path at which the app server signs URLs", "应用服务器签名 URL 的路径"],
  untold: [
    "Ask without size and type, so that OSS itself refuses what the form does not allow",
    "请求签名时不提供大小和类型，由 OSS 拒绝表单不允许的文件",
  ],
  badPath: ["Enter a path such as /form, or a URL.", "请填写路径（例如 /form）或 URL。"],
  preview: ["cat.jpg will be {url}", "cat.jpg 将上传为 {url}"],
  set: ["Set", "应用设置"],
  isSet: ["Set.", "设置已生效。"],
  share: ["Copy link to settings", "复制设置链接"],
  shared: ["Link copied. It has no login token.", "链接已复制，其中不含登录令牌。"],
  reset: ["Reset", "恢复默认"],
  badUrl: ["Enter a URL such as https://app.example.com/sts.", "请填写 URL，例如 https://app.example.com/sts。"],
  badBucket: ["Enter 3 to 63 lower-case letters, digits and hyphens.", "请填写 3 至 63 个小写字母、数字或短划线（-）。"],
  badRegion: ["Enter a region ID such as cn-hangzhou.", "请填写地域 ID，例如 cn-hangzhou。"],
  badEndpoint: ["Enter a host such as oss-cn-hangzhou.aliyuncs.com.", "请填写域名，例如 oss-cn-hangzhou.aliyuncs.com。"],
  noDomain: ["A custom domain is a name, not blank and not an address.", "自定义域名不能为空，也不能是 IP 地址。"],
  mixedUrl: ["This page came over https, so it can call https only.", "本页面通过 https 打开，只能访问 https 地址。"],
  badPattern: [
    "Enter a name that begins with neither / nor \\, and of placeholders only those below.",
    "名称不能以 / 或 \\ 开头，且只能使用下列占位符。",
  ],

  tokenNone: ["No token yet", "尚无凭证"],
  tokensNone: ["No token: the app server signs each upload", "没有凭证：应用服务器为每次上传单独签名"],
  tokenExpires: ["expires at {time}, in {left}", "{time} 过期，剩余 {left}"],
  tokenExpired: ["expired at {time}", "已于 {time} 过期"],

  choose: ["Choose files", "选择文件"],
  drop: ["or drop them here", "或拖放到这里"],
  hint: ["Large files go in parts and can be resumed", "大文件分片上传，可断点续传"],
  onlySome: ["Allowed: {limits}", "允许：{limits}"],
  noLimits: ["Any file, in one request", "任意文件，一次请求上传"],
  atMost: ["up to {size}", "不超过 {size}"],
  atLeast: ["{size} or more", "不小于 {size}"],
  or: [" or ", " 或 "],
  limit: ["The limit is {setting}: {value}.", "限制：{setting}，{value}。"],
  folders: ["Files only: folders are not uploaded", "只上传文件，不上传文件夹"],
  uploads: ["Uploads", "上传"],
  summary: ["{done} of {total} done", "已完成 {done} / {total}"],
  summaryFailed: ["{done} of {total} done, {failed} failed", "已完成 {done} / {total}，失败 {failed}"],
  retryAll: ["Retry all", "全部重试"],
  clear: ["Clear finished", "清除已完成"],
  waiting: ["Waiting · {size}", "等待中 · {size}"],
  uploading: ["{percent} of {size}", "{percent}，共 {size}"],
  done: ["Uploaded · {size}", "已上传 · {size}"],
  doneUnreported: ["Uploaded, but not reported · {size}", "已上传，但未上报 · {size}"],
  reported: ["Reported: {facts}", "已上报：{facts}"],
  reportedBy: ["by {user}", "用户 {user}"],
  nothingMore: ["the app server says no more", "应用服务器未返回更多信息"],
  failed: ["Failed · {size}", "失败 · {size}"],
  unfinished: ["Unfinished · {size} · choose the same file to go on", "未完成 · {size} · 重新选择同一文件即可续传"],
  otherFile: ["That is another file: name, size and date have to be the same.", "这不是同一个文件：名称、大小和修改时间必须一致。"],
  chooseAgain: ["Choose file", "选择文件"],
  resume: ["Resume", "续传"],
  again: ["Try again", "重试"],
  cancel: ["Cancel", "取消"],
  discard: ["Discard", "放弃"],
  copyLink: ["Copy link", "复制链接"],
  copied: ["Link copied · works for {left}", "链接已复制 · {left}内有效"],
  notCopied: ["This browser did not copy the link.", "浏览器未能复制链接。"],
  minutes: ["{count} min", "{count} 分钟"],

  limits: ["What this token may not do", "此凭证无权做的事"],
  limitsText: ["It is good for {place} and nothing else.", "它只对 {place} 有效。"],
  outside: ["Try to write outside the prefix", "尝试写到前缀之外"],
  trying: ["Writing {key} …", "正在写入 {key} …"],
  refused: ["OSS refused to write {key}, as it should:", "OSS 拒绝写入 {key}，符合预期："],
  written: [
    "OSS wrote {key}! This token may do more than it should.",
    "OSS 写入了 {key}！此凭证的权限超出了应有的范围。",
  ],
  unclear: ["OSS did not decide about {key}:", "OSS 未对 {key} 作出判断："],

  objects: ["In the bucket", "Bucket 中的文件"],
  refresh: ["Refresh", "刷新"],
  watermark: ["Watermark", "水印"],
  aboutObject: ["{size} · {time}", "{size} · {time}"],
  listing: ["Loading…", "正在加载…"],
  notListed: ["Not loaded", "未能加载"],
  listRefused: [
    "The token may not list the bucket. Uploads work without that.",
    "此凭证无权列举 Bucket 中的文件，不影响上传。",
  ],
  listFailed: ["The list could not be loaded. That says nothing about uploads.", "未能加载文件列表，与上传是否成功无关。"],
  deleteRefused: ["The token may not delete {name}. It is still there.", "此凭证无权删除 {name}，文件仍然存在。"],
  deleteFailed: ["{name} was not deleted.", "{name} 未能删除。"],
  empty: ["Nothing here yet", "暂无文件"],
  count: ["{count}, newest first", "{count} 个，最新的在前"],
  more: ["the first {count} by name; there are more", "按名称的前 {count} 个，还有更多"],
  unprocessed: [
    "This OSS did not process some pictures; they are shown as they are.",
    "此 OSS 未能处理部分图片，按原图显示。",
  ],
  remove: ["Delete", "删除"],
  reallyRemove: ["Really delete?", "确认删除？"],

  oss: ["OSS", "OSS"],
  saidTo: ["{service} said this to {request} · {facts}", "{service} 返回（请求 {request}）· {facts}"],
  askedFor: ["The request to {service} was {request}", "发送给 {service} 的请求：{request}"],
  noReply: ["No reply from {host}.", "{host} 没有响应。"],
  offline: ["This device is offline. It goes on when the network is back.", "设备已离线，网络恢复后会自动继续。"],
  mixed: ["This page came over https, and browsers let it call https only.", "本页面通过 https 打开，浏览器只允许访问 https 地址。"],
  untrusted: [
    "Its certificate is made by itself, perhaps: open the address once in this browser and accept it.",
    "可能使用了自签名证书：请在此浏览器中打开以下地址一次并信任该证书。",
  ],
  ossUnreachable: [
    "Nothing answers there. Check the network, and bucket, region and endpoint in the settings.",
    "该地址没有任何响应。请检查网络，以及设置中的 Bucket、地域和 Endpoint。",
  ],
  appServerUnreachable: [
    "Nothing answers there. Check that the app server runs, and its address in the settings.",
    "该地址没有任何响应。请检查应用服务器是否在运行，以及设置中的地址。",
  ],
  noCorsRule: [
    "{host} answers, but not for this page. The likely cause: the bucket has no CORS rule that lets pages of {origin} send {method} with all headers. Or there is no such bucket.",
    "{host} 有响应，但不允许本页面读取。最可能的原因：Bucket 没有跨域规则（CORS）允许来源 {origin} 使用 {method} 方法和所有请求头；也可能 Bucket 不存在。",
  ],
  originNotAllowed: [
    "{host} answers, but not for this page. The likely cause: AllowedOrigins of the app server does not have {origin}.",
    "{host} 有响应，但不允许本页面读取。最可能的原因：应用服务器的 AllowedOrigins 中没有 {origin}。",
  ],
  notAToken: ["What {host} sent is not a token (HTTP {status}).", "{host} 返回的不是凭证（HTTP {status}）。"],
  notSigned: ["What {host} sent is neither a form nor a URL (HTTP {status}).", "{host} 返回的既不是表单也不是 URL（HTTP {status}）。"],
  outsideDir: [
    "{key} cannot be signed: names have to begin with {dir}. Change the object name in the settings.",
    "无法签名 {key}：名称必须以 {dir} 开头。请在设置中修改文件（Object）名称。",
  ],
  hiddenETag: ["The CORS rule of the bucket does not expose ETag.", "Bucket 的跨域规则没有暴露 ETag。"],
};
const LANGUAGES = ["en", "zh-CN"];

let language = LANGUAGES[/^zh\b/i.test(navigator.language) ? 1 : 0];
const saidWith = new WeakMap(); // the values in the text of an element

/** Returns a text; a value may be a function, for what looks different in each language. */
function text(name, values = {}) {
  return TEXTS[name][LANGUAGES.indexOf(language)].replace(/\{(\w+)\}/g, (_, key) =>
    typeof values[key] === "function" ? values[key]() : values[key],
  );
}

/** Shows a text in *element*, in another language too when that is chosen. */
function say(element, name, values) {
  element.dataset.t = name;
  saidWith.set(element, values);
  const said = text(name, values);
  if (element.textContent !== said) element.textContent = said; // else live regions repeat
}

/** Shows nothing in *element* any more. */
function unsay(element) {
  delete element.dataset.t;
  if (element.textContent) element.textContent = "";
}

function setLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = language;
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-t]")) {
    say(element, element.dataset.t, saidWith.get(element));
  }
  byId("language").lang = otherLanguage();
}

function otherLanguage() {
  return LANGUAGES.find((other) => other !== language);
}

function formatBytes(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const power = Math.min(3, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: units[power],
    unitDisplay: power ? "short" : "long",
    maximumSignificantDigits: 3,
  }).format(bytes / 1000 ** power);
}

function formatTime(milliseconds, style) {
  return new Intl.DateTimeFormat(language, style).format(milliseconds);
}

function formatSeconds(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(Math.floor(seconds) % 60)}`;
}
