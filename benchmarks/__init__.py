"""Speed, measured on real processes: `make bench`."""
