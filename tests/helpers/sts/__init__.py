"""A client of STS, apart from the SDKs."""
