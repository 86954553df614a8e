"""A small Alibaba Cloud on loopback, for the demo, the tests and the benchmarks."""
