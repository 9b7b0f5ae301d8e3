"""Frames as they come off a topic, decoded into columns, and columns encoded into frames."""
