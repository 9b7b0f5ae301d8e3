"""Pictures as SVG: small functions from values to marks; what they look like stands in the style sheet."""
