"""What acts on verdicts, and what overrules them: Kafka and the clock around the state machines of `rollouts`."""
