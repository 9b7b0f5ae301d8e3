"""The live cores: what workers drive between two topics. Pure, as the rest of the room: no clock, no network."""
