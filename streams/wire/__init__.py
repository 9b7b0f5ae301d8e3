"""Wire formats: the bytes of a message become samples as columns, and back."""
