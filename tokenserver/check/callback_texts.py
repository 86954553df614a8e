"""What to do about the URL that OSS calls, in both languages."""

from __future__ import annotations

from tokenserver.check.texts import Text

REWRITTEN = Text(
    "A proxy rewrites the path of {url}, or the server that runs has another Callback. "
    "Have the proxy forward {path} as it is, in nginx with proxy_pass and no path "
    "behind the port.",
    "代理改写了 {url} 的路径，或运行中的服务配置了其他 Callback。请让代理原样转发 "
    "{path}，在 nginx 中使用 proxy_pass，端口之后不写路径。",
)
NOT_THIS_SERVER = Text(
    "What answers at {url} is not this server. Have the proxy forward {path} to it, "
    "and start the server before --check.",
    "{url} 上响应请求的不是本服务。请让代理把 {path} 转发到本服务，并在执行 --check "
    "之前启动服务。",
)
NO_NAME = Text(
    "The name in {url} cannot be resolved. Look for a typo in Callback.Url.",
    "无法解析 {url} 中的域名。请检查 Callback.Url 是否有误。",
)
REDIRECTED = Text(
    "What answers at {url} is not this server. If it redirects, set Callback.Url to "
    "where it leads, because OSS does not follow.",
    "{url} 上响应请求的不是本服务。如果它返回重定向，请将 Callback.Url 设置为重定向的"
    "目标，因为 OSS 不跟随重定向。",
)
CERTIFICATE = Text(
    "OSS calls {url} too, and needs a certificate that is valid for its name and "
    "issued by a public authority.",
    "OSS 也会访问 {url}，需要由公共 CA 签发且域名匹配的证书。",
)
UNREACHABLE = Text(
    "This machine cannot call {url}. Start the server before --check, and try the URL "
    "from outside: OSS calls it from the internet.",
    "本机无法访问 {url}。请在执行 --check 之前启动服务，并从外部访问该 URL：OSS "
    "从公网访问它。",
)
