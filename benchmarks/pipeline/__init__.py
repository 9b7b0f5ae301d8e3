"""The live engine on a real broker: throughput, latency, recovery."""
