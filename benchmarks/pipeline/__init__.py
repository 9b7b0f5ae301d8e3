"""The live engine on a real broker: throughput, beside others and as it grows, latency, recovery."""
