"""The operations of OSS: how to tell them apart, and the action that each needs.

    operation = find_operation("PUT", "object", {"acl": ""}, {})
    operation.name, operation.action  # ("PutObjectAcl", "oss:PutObjectAcl")

The stand-in imitates few of them.  It knows the others for the sake of the policies: an
operation that they do not allow is refused as OSS refuses it, imitated or not.

Vector buckets and table buckets are left out, because they have their own endpoints.

Sources: "Authorization syntax and elements" and the page of each operation in the OSS
documentation; where these are silent, alibabacloud-oss-v2 1.4.1 and version 2 of the
SDK for Go.  If none of them names the action, it is taken to have the name of the
operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# Each row has: the methods, the level (service, bucket or object), the marks, the name
# of the operation, and its action if that has another name.  A * stands for Put, Get or
# Delete, depending on the method.
#
# The marks are parameters of the query (name, or name=value) and headers (name:), or -
# for none.  Of the rows that match a request, the one with most marks counts, and of
# several such the first.  The action after a / is for a request that names a version.
# The action - means that the operation checks its actions itself.
CATALOG = """\
GET service - ListBuckets
GET service regions DescribeRegions
GET service cloudboxes ListCloudBoxes
PUT,GET,DELETE service publicAccessBlock *PublicAccessBlock
GET service redundancyTransition ListUserDataRedundancyTransition
GET service accessPoint ListAccessPoints
GET service accessPointForObjectProcess ListAccessPointsForObjectProcess
POST service x-oss-write-get-object-response WriteGetObjectResponse
PUT service antiDDos InitUserAntiDDosInfo
POST service antiDDos UpdateUserAntiDDosInfo
GET service antiDDos GetUserAntiDDosInfo
GET service bucketAntiDDos ListBucketAntiDDosInfo
GET service qosInfo GetUserQosInfo
GET service resourcePool ListResourcePools
GET service resourcePool&resourcePoolInfo GetResourcePoolInfo
GET service resourcePool&resourcePoolBuckets ListResourcePoolBuckets
GET service resourcePool&resourcePoolBucketGroup ListResourcePoolBucketGroups
GET service resourcePool&requesterQosInfo ListResourcePoolRequesterQoSInfos
PUT,GET,DELETE service resourcePool&requesterQosInfo&qosRequester \
*ResourcePoolRequesterQoSInfo
GET service resourcePool&resourcePoolBucketGroupQosInfo \
ListResourcePoolBucketGroupQoSInfos
PUT,GET,DELETE service \
resourcePool&resourcePoolBucketGroupQosInfo&resourcePoolBucketGroup \
*ResourcePoolBucketGroupQoSInfo
POST service dataPipeline DoDataPipelineAction
POST service dataPipeline&action=putDataPipelineConfiguration \
PutDataPipelineConfiguration
POST service dataPipeline&action=getDataPipelineConfiguration \
GetDataPipelineConfiguration
POST service dataPipeline&action=deleteDataPipelineConfiguration \
DeleteDataPipelineConfiguration
POST service dataPipeline&action=listDataPipelineConfigurations \
ListDataPipelineConfigurations
POST service dataPipeline&action=pauseDataPipeline PauseDataPipeline
POST service dataPipeline&action=restartDataPipeline RestartDataPipeline
PUT,DELETE bucket - *Bucket
GET bucket - ListObjects
GET bucket versions ListObjectVersions
GET bucket uploads ListMultipartUploads
POST bucket - PostObject PutObject
POST bucket delete DeleteMultipleObjects -
GET bucket bucketInfo GetBucketInfo
GET bucket location GetBucketLocation
GET bucket stat GetBucketStat
PUT,GET bucket acl *BucketAcl
PUT,GET bucket versioning *BucketVersioning
PUT,GET,DELETE bucket cors *BucketCors
PUT,GET,DELETE bucket encryption *BucketEncryption
PUT,GET,DELETE bucket lifecycle *BucketLifecycle
PUT,GET,DELETE bucket logging *BucketLogging
PUT,GET,DELETE bucket userDefinedLogFieldsConfig *UserDefinedLogFieldsConfig
PUT,GET,DELETE bucket website *BucketWebsite
PUT,GET bucket referer *BucketReferer
PUT,GET,DELETE bucket policy *BucketPolicy
PUT,GET,DELETE bucket policy&comp=callback *BucketCallbackPolicy
GET bucket policyStatus GetBucketPolicyStatus
PUT,GET,DELETE bucket tagging *BucketTags *BucketTagging
PUT,GET bucket requestPayment *BucketRequestPayment
PUT,GET bucket transferAcceleration *BucketTransferAcceleration
PUT,GET bucket accessmonitor *BucketAccessMonitor
PUT,GET bucket httpsConfig *BucketHttpsConfig
PUT,GET bucket resourceGroup *BucketResourceGroup
PUT,GET bucket bucketArchiveDirectRead *BucketArchiveDirectRead
PUT,GET,DELETE bucket overwriteConfig *BucketOverwriteConfig
PUT,GET bucket objectWorm *BucketObjectWormConfiguration
PUT,GET,DELETE bucket quota *BucketStorageQuota
PUT,GET bucket qos *BucketStorageCapacity
PUT,GET,DELETE bucket qosInfo *BucketQoSInfo
GET bucket requesterQosInfo ListBucketRequesterQoSInfos ListBucketRequesterQoSInfo
PUT,GET,DELETE bucket requesterQosInfo&qosRequester *BucketRequesterQoSInfo
PUT bucket resourcePool&resourcePoolBucketGroup PutBucketResourcePoolBucketGroup
PUT bucket antiDDos InitBucketAntiDDosInfo
POST bucket antiDDos UpdateBucketAntiDDosInfo
GET bucket bucketAntiDDos ListBucketAntiDDosInfo
POST bucket replication&comp=add PutBucketReplication
POST bucket replication&comp=delete DeleteBucketReplication
GET bucket replication GetBucketReplication
GET bucket replicationLocation GetBucketReplicationLocation
GET bucket replicationProgress GetBucketReplicationProgress
PUT bucket rtc PutBucketRtc PutBucketRTC
GET bucket inventory ListBucketInventory GetBucketInventory
PUT,GET,DELETE bucket inventory&inventoryId *BucketInventory
PUT,GET,DELETE bucket publicAccessBlock *BucketPublicAccessBlock
PUT,GET,DELETE bucket publicAccessBlock&x-oss-access-point-name \
*AccessPointPublicAccessBlock
PUT bucket accessPoint CreateAccessPoint
GET bucket accessPoint ListAccessPoints
GET bucket accessPoint&x-oss-access-point-name: GetAccessPoint
DELETE bucket accessPoint DeleteAccessPoint
PUT,GET,DELETE bucket accessPointPolicy *AccessPointPolicy
PUT bucket accessPointForObjectProcess CreateAccessPointForObjectProcess
GET,DELETE bucket accessPointForObjectProcess *AccessPointForObjectProcess
PUT,GET bucket accessPointConfigForObjectProcess *AccessPointConfigForObjectProcess
PUT,GET,DELETE bucket accessPointPolicyForObjectProcess \
*AccessPointPolicyForObjectProcess
GET bucket cname ListCname
POST bucket cname&comp=add PutCname
POST bucket cname&comp=delete DeleteCname
POST bucket cname&comp=token CreateCnameToken
GET bucket cname&comp=token GetCnameToken
GET bucket style ListStyle
PUT,GET,DELETE bucket style&styleName *Style
POST bucket worm InitiateBucketWorm
POST bucket wormId CompleteBucketWorm
POST bucket wormId&wormExtend ExtendBucketWorm
GET bucket worm GetBucketWorm
DELETE bucket worm AbortBucketWorm
POST bucket redundancyTransition CreateBucketDataRedundancyTransition
GET bucket redundancyTransition ListBucketDataRedundancyTransition
GET bucket redundancyTransition&x-oss-redundancy-transition-taskid \
GetBucketDataRedundancyTransition
DELETE bucket redundancyTransition DeleteBucketDataRedundancyTransition
POST bucket metadataConfiguration CreateBucketMetadataConfiguration
GET,DELETE bucket metadataConfiguration *BucketMetadataConfiguration
PUT bucket metadataInventoryTable UpdateBucketMetadataInventoryTableConfiguration
PUT bucket metadataJournalTable UpdateBucketMetadataJournalTableConfiguration
GET bucket metaQuery GetMetaQueryStatus
POST bucket metaQuery DoMetaQueryAction
POST bucket MetaQuery DoMetaQueryAction
POST bucket metaQuery&comp=add OpenMetaQuery
POST bucket metaQuery&comp=query DoMetaQuery
POST bucket metaQuery&comp=delete CloseMetaQuery
POST bucket metaQuery&action=openMetaQuery OpenMetaQuery
POST bucket metaQuery&action=doMetaQuery DoMetaQuery
POST bucket metaQuery&action=closeMetaQuery CloseMetaQuery
POST bucket metaQuery&action=getMetaQueryStatus GetMetaQueryStatus
POST bucket metaQuery&action=createDataset CreateDataset
POST bucket metaQuery&action=getDataset GetDataset
POST bucket metaQuery&action=updateDataset UpdateDataset
POST bucket metaQuery&action=deleteDataset DeleteDataset
POST bucket metaQuery&action=listDatasets ListDatasets
POST bucket metaQuery&action=simpleQuery SimpleQuery
POST bucket metaQuery&action=semanticQuery SemanticQuery
POST bucket metaQuery&action=deleteFileMeta DeleteFileMeta
POST bucket metaQuery&action=createSmartCluster CreateSmartCluster
POST bucket metaQuery&action=getSmartCluster GetSmartCluster
POST bucket metaQuery&action=updateSmartCluster UpdateSmartCluster
POST bucket metaQuery&action=deleteSmartCluster DeleteSmartCluster
POST bucket metaQuery&action=listSmartClusters ListSmartClusters
POST bucket asyncFetch PutAsyncFetchTask
GET bucket asyncFetch GetAsyncFetchTask
GET bucket live ListLiveChannel
GET bucket list-type ListObjectsV2 ListObjects
PUT object - PutObject
PUT object x-oss-copy-source: CopyObject PutObject
GET object - GetObject GetObject/GetObjectVersion
HEAD object - HeadObject GetObject
HEAD object objectMeta GetObjectMeta GetObject
DELETE object - DeleteObject DeleteObject/DeleteObjectVersion
POST object append&position AppendObject PutObject
POST object seal SealAppendObject PutObject
POST object uploads InitiateMultipartUpload PutObject
PUT object partNumber&uploadId UploadPart PutObject
PUT object partNumber&uploadId&x-oss-copy-source: UploadPartCopy PutObject
POST object uploadId CompleteMultipartUpload PutObject
DELETE object uploadId AbortMultipartUpload
GET object uploadId ListParts
PUT,GET object acl *ObjectAcl *ObjectAcl/*ObjectVersionAcl
PUT,GET,DELETE object tagging *ObjectTagging *ObjectTagging/*ObjectVersionTagging
PUT object symlink PutSymlink PutObject
GET object symlink GetSymlink GetObject
POST object restore RestoreObject RestoreObject/RestoreObjectVersion
POST object cleanRestoredObject CleanRestoredObject
PUT,GET object retention *ObjectRetention
PUT,GET object legalHold *ObjectLegalHold
POST object x-oss-dir CreateDirectory PutObject
POST object x-oss-rename Rename PutObject
POST object x-oss-delete DeleteDirectory DeleteObject
POST object x-oss-process=csv/select SelectObject GetObject
POST object x-oss-process=json/select SelectObject GetObject
POST object x-oss-process=csv/meta CreateSelectObjectMeta GetObject
POST object x-oss-process=json/meta CreateSelectObjectMeta GetObject
POST object x-oss-process ProcessObject PostProcessTask
POST object x-oss-async-process AsyncProcessObject PostProcessTask
PUT,DELETE object live *LiveChannel
PUT object live&status PutLiveChannelStatus
GET object live GetLiveChannelInfo GetLiveChannel
GET object live&comp=stat GetLiveChannelStat
GET object live&comp=history GetLiveChannelHistory
POST object vod PostVodPlaylist
GET object vod GetVodPlaylist
"""

VERBS = {"PUT": "Put", "GET": "Get", "DELETE": "Delete"}


class Operation(NamedTuple):
    """An operation, and the action that the policies must allow.

    If the action is empty, the operation checks its actions itself, because only it
    knows their resources.  *subresources* are the parameters that mark it.
    """

    name: str
    action: str
    subresources: frozenset[str]


class Row(NamedTuple):
    """A line of the catalog, for one method."""

    query: Mapping[str, str]  # an empty value stands for any
    header: str
    name: str
    action: str
    version_action: str  # for a request that names a version

    def matches(self, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        """Tell whether a request has all the marks of this operation."""
        return (not self.header or self.header in headers) and all(
            name in query and value in ("", query[name])
            for name, value in self.query.items()
        )


def read_catalog(text: str) -> dict[tuple[str, str], list[Row]]:
    """Return the rows by method and level, those with most marks first."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for line in text.splitlines():
        methods, level, known_by, name, *actions = line.split()
        for method in methods.split(","):
            row = read_row(method, known_by, name, *actions)
            rows.setdefault((method, level), []).append(row)
    for found in rows.values():
        found.sort(key=lambda row: len(row.query) + bool(row.header), reverse=True)
    return rows


def read_row(method: str, known_by: str, name: str, action: str = "") -> Row:
    """Return the row of a line of the catalog, for one of its methods."""
    parts = [part for part in known_by.split("&") if part != "-"]
    query = dict(part.partition("=")[::2] for part in parts if part[-1] != ":")
    header = "".join(part[:-1] for part in parts if part[-1] == ":")
    plain, _, versioned = (action or name).partition("/")

    def filled_in(text: str) -> str:
        return text.replace("*", VERBS.get(method, ""))

    def action_of(name: str) -> str:
        return "" if name == "-" else f"oss:{filled_in(name)}"

    return Row(
        query,
        header,
        name=filled_in(name),
        action=action_of(plain),
        version_action=action_of(versioned or plain),
    )


ROWS = read_catalog(CATALOG)


def find_operation(
    method: str, level: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> Operation | None:
    """Return the operation that a request asks for, None if there is none like it.

    *level* is "service", "bucket" or "object"; the names of *headers* are in lower
    case.
    """
    for row in ROWS.get((method, level), ()):
        if row.matches(query, headers):
            action = row.version_action if "versionId" in query else row.action
            return Operation(row.name, action, frozenset(row.query))
    return None
