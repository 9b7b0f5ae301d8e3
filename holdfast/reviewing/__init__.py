"""The post-incident review: a draft out of what is stored, what people make of it, and the recording that stays."""
