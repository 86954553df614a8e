"""A stand-in for OSS on loopback."""

from localcloud.oss.stand_in import CUT_OFF, CorsRule, OssStandIn

__all__ = ["CUT_OFF", "CorsRule", "OssStandIn"]
