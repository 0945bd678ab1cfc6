"""What the project says of its speed, measured on real parts: `make bench`."""
