"""The replay cache: the second replay of a recording is the first one, without its samples being read."""
