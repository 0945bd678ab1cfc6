"""What is deployed where: settings in, resources wired, outputs out."""
