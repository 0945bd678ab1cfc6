"""Commands around the stacks, for people and pipelines. The program itself uses none of them."""
