"""The status page: for everybody, and for those who respond."""
