"""Commands around the stacks, for people and pipelines; the program itself uses none of this."""
