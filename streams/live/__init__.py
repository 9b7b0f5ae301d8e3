"""The live engine's pure cores: what holds and moves its state between messages. No clock, and no Kafka."""
