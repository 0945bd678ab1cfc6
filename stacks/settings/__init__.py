"""The language of settings: what they may say on every target, what is wrong with them, where they stand."""
