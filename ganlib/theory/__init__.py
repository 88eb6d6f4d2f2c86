"""The theory of adversarial nets (Goodfellow et al. 2014, arXiv 1406.2661), as numbers on a line: SYSTEMS.md A7."""
