"""The live engine: everything that touches Kafka or a clock."""
