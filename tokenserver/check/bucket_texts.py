"""What to do about the bucket that clients upload to, in both languages.

Names of pages and buttons are those of the OSS console in each language ("Bucket ACL"
and "Configure CORS", OSS documentation).
"""

from __future__ import annotations

from tokenserver.check.texts import Text

BUCKETS = Text("OSS console > Buckets", "OSS 控制台 > Bucket 列表")
ACL = Text(
    f"{BUCKETS.en} > {{bucket}} > Permission Control > ACL",
    f"{BUCKETS.zh} > {{bucket}} > 权限控制 > 读写权限",
)
CORS = Text(
    f"{BUCKETS.en} > {{bucket}} > Content Security > CORS",
    f"{BUCKETS.zh} > {{bucket}} > 数据安全 > 跨域设置",
)

NO_NAME = Text(
    "The name in {host} cannot be resolved. Look for a typo in Region, Endpoint and "
    "Host.",
    "无法解析 {host} 中的域名。请检查 Region、Endpoint 和 Host 是否有误。",
)
UNREACHABLE = Text(
    "This machine cannot reach {host}, so this says nothing about the bucket. Try from "
    "a phone or a browser whether the bucket can be reached there.",
    "本机无法访问 {host}，因此无法检查该 Bucket。请从手机或浏览器确认是否可以访问。",
)
NOT_OSS = Text(
    "What answers at {host} is not OSS. Correct Endpoint and Host, and look for a "
    "proxy in between.",
    "{host} 上响应请求的不是 OSS。请修改 Endpoint 和 Host，并检查中间是否有代理。",
)
NO_BUCKET = Text(
    f"There is no bucket {{bucket}}. Set BucketName to one that {BUCKETS.en} lists.",
    f"不存在名为 {{bucket}} 的 Bucket。请将 BucketName 设置为 {BUCKETS.zh} 中列出的 "
    "Bucket。",
)
OTHER_REGION = Text(
    "The bucket {bucket} is in {region}. Set Region to that.",
    "{bucket} 位于地域 {region}。请将 Region 设置为该地域。",
)
PUBLIC = Text(
    f"Anyone can list and read the bucket {{bucket}}. Set it to private in {ACL.en}.",
    f"任何人都可以列举和读取 {{bucket}}。请在 {ACL.zh} 中将其设置为私有。",
)
NO_RULE = Text(
    f"If web pages upload, add a rule in {CORS.en}: source {{origin}}, methods GET, "
    "PUT, POST, DELETE and HEAD, allowed headers *, exposed headers ETag and "
    "x-oss-request-id. Apps need none.",
    f"如果需要从网页上传，请在 {CORS.zh} 中添加规则：来源为 {{origin}}，允许 Methods "
    "为 GET、PUT、POST、DELETE 和 HEAD，允许 Headers 为 *，暴露 Headers 为 ETag 和 "
    "x-oss-request-id。App 不需要跨域规则。",
)
HIDES_ETAG = Text(
    f"Large uploads of web pages need ETag among the exposed headers: {CORS.en}.",
    f"从网页上传大文件时，暴露 Headers 中需要有 ETag：{CORS.zh}。",
)
